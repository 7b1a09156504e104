"""A supplier's limits and the lanes' shares as the numbers that the ledger's script counts with.

Of each limit over a long window a part is anybody's (``shared``), and each lane has a floor beside it.  So the parts
together are the limit, and no interleaving of lanes can pass it.  What a lane leaves of its floor is lent to others as
evenly as the window passes: whoever wakes finds its floor coming back at once, and nothing lies idle.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from worker.domain.fleet.lanes import ALL_ALIKE, QuotaLane, Shares

SECOND_MS: Final = 1000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

RAMP_S: Final = 60.0
RAMP_SPACING_US: Final = 250_000  # where there is no limit of the second: four a second at the ramp's end

LANES: Final = tuple(QuotaLane)

_BUCKETS: Final = 240  # of an hour, 15 s each: up to one of them is waited for too long
_BANDS: Final = 60  # a sixtieth of the window's loans may be made up for
_AT_HAND: Final = 200  # a two-hundredth of the limit is never lent: a first screen that begins now
_LEFT: Final = 400  # for each lane that goes before: a four-hundredth of the shared part
# Of the patience, above one's floor: so that who goes first books further ahead than the others may.
_PERCENT_OF_PATIENCE: Final = (85, 65, 45, 25)


def spacing_us(calls: int, window_ms: int = SECOND_MS) -> int:
    """Between two grants, so that ``calls + 1`` in a row span a quarter more than the window.

    5 a second become 4 even ones: more than any hourly limit lets through, and proof against jitter.
    """
    return window_ms * 1250 // calls + 1


@dataclass(frozen=True, slots=True)
class Window:
    """So many calls in any span of this length."""

    name: str
    calls: int
    length_us: int

    @property
    def bucket_us(self) -> int:
        return self.length_us // _BUCKETS

    def numbers(self, lane: QuotaLane, shares: Shares) -> list[int]:
        """What the script wants to know, in its order."""
        floors = [self.calls * shares.floor(each) // 100 for each in LANES]
        rank, band = (0 if shares == ALL_ALIKE else LANES.index(lane)), self.length_us // _BANDS
        return [
            self.calls,
            self.bucket_us,
            _BUCKETS,
            min(floors[0], -(-self.calls // _AT_HAND)),
            (self.calls - sum(floors)) * rank // _LEFT,
            band * rank // len(LANES),
            band,
            *floors,
            *(-(-self.calls * shares.ceiling(each) // 100) for each in LANES),
        ]


@dataclass(frozen=True, slots=True)
class Limits:
    """None is no limit."""

    per_second: int | None
    per_hour: int | None
    per_day: int | None
    second_ms: int
    hour_ms: int
    day_ms: int

    @property
    def windows(self) -> tuple[Window, ...]:
        told = (("hourly", self.per_hour, self.hour_ms), ("daily", self.per_day, self.day_ms))
        return tuple(Window(name, calls, length_ms * 1000) for name, calls, length_ms in told if calls)

    @property
    def spacing_us(self) -> int:
        """Of the second's pace, 0 where there is none."""
        return spacing_us(self.per_second, self.second_ms) if self.per_second else 0

    def numbers(self, lane: QuotaLane, shares: Shares, longest_us: int, ramp_us: int) -> list[int]:
        """All that the script wants to know of ``lane`` that stays the same from call to call."""
        spacing, floor = self.spacing_us, shares.floor(lane)
        percent = 100 if shares == ALL_ALIKE else _PERCENT_OF_PATIENCE[LANES.index(lane)]
        return [
            spacing,
            (spacing or self._evenly_us) // 2,  # two come again for each permit, so that each is asked for
            self._evenly_us // 2,
            ramp_us,
            spacing or RAMP_SPACING_US,
            longest_us,
            percent,
            spacing * 100 // floor if floor else 0,
            *(number for window in self.windows for number in window.numbers(lane, shares)),
        ]

    @property
    def _evenly_us(self) -> int:
        """Between two permits of an hour (or a day) that is used evenly; 0 where there is no limit."""
        return next((window.length_us // window.calls for window in self.windows), 0)
