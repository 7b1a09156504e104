"""The limits of a supplier and the shares of the lanes, as the numbers with which the ledger's script counts.

Each limit over an hour or a day has a shared part and a floor for each lane. Together the parts are the limit, so no
order of calls can exceed it. What a lane does not use of its floor is lent to the others, evenly over the window. So
nothing lies idle, and a lane that begins to work finds its floor coming back at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from worker.domain.fleet.lanes import EQUAL_SHARES, QuotaLane, Shares

SECOND_MS: Final = 1000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS

RAMP_S: Final = 60.0
# Without a limit a second, the gate's ramp ends at four calls a second.
RAMP_SPACING_US: Final = 250_000

LANES: Final = tuple(QuotaLane)

# A bucket of an hour has 15 s. A call may wait for up to one bucket longer than needed.
_BUCKETS: Final = 240
# Unused loans of up to a sixtieth of the window may be made up for.
_BANDS: Final = 60
# A two-hundredth of the limit is never lent, so that a first screen can begin at any time.
_RESERVE: Final = 200
# For each lane before it, a lane leaves a four-hundredth of the shared part.
_LEFT: Final = 400
# Above its floor a lane waits for this share of its patience only, so that lanes before it can book further ahead.
_PERCENT_OF_PATIENCE: Final = (85, 65, 45, 25)


def spacing_us(calls: int, window_ms: int = SECOND_MS) -> int:
    """Return the µs between two permits, with which ``calls + 1`` in a row span a quarter more than the window.

    So 5 calls a second become 4 even ones. That is more than any hourly limit allows, and a jitter on the way never
    makes six in one second.
    """
    return window_ms * 1250 // calls + 1


@dataclass(frozen=True, slots=True)
class QuotaSpan:
    """A limit over a long span: so many calls in any span of this length."""

    name: str
    calls: int
    length_us: int

    @property
    def bucket_us(self) -> int:
        """The length of a bucket, in which the script counts calls together."""
        return self.length_us // _BUCKETS

    def numbers(self, lane: QuotaLane, shares: Shares) -> list[int]:
        """Return the window's arguments of ``scripts.TAKE_PERMIT``, in its order."""
        floors = [self.calls * shares.floor(other) // 100 for other in LANES]
        # With equal shares no lane goes before another.
        rank, band = (0 if shares == EQUAL_SHARES else LANES.index(lane)), self.length_us // _BANDS
        return [
            self.calls,
            self.bucket_us,
            _BUCKETS,
            min(floors[0], -(-self.calls // _RESERVE)),
            (self.calls - sum(floors)) * rank // _LEFT,
            band * rank // len(LANES),
            band,
            *floors,
            *(-(-self.calls * shares.ceiling(other) // 100) for other in LANES),
        ]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one supplier; None means no limit. The lengths differ from the usual ones in tests only."""

    per_second: int | None
    per_hour: int | None
    per_day: int | None
    second_ms: int
    hour_ms: int
    day_ms: int

    @property
    def windows(self) -> tuple[QuotaSpan, ...]:
        """The limits of the hour and of the day that there are."""
        limits = (("hourly", self.per_hour, self.hour_ms), ("daily", self.per_day, self.day_ms))
        return tuple(QuotaSpan(name, calls, length_ms * 1000) for name, calls, length_ms in limits if calls)

    @property
    def spacing_us(self) -> int:
        """The µs between two permits of the pace; 0 without a limit a second."""
        return spacing_us(self.per_second, self.second_ms) if self.per_second else 0

    def numbers(self, lane: QuotaLane, shares: Shares, longest_us: int, ramp_us: int) -> list[int]:
        """Return the arguments of ``scripts.TAKE_PERMIT`` that are the same in all calls of ``lane``."""
        spacing, floor = self.spacing_us, shares.floor(lane)
        percent = 100 if shares == EQUAL_SHARES else _PERCENT_OF_PATIENCE[LANES.index(lane)]
        return [
            spacing,
            # Two callers come again for each permit, so that no permit is left over.
            (spacing or self._even_spacing_us) // 2,
            self._even_spacing_us // 2,
            ramp_us,
            spacing or RAMP_SPACING_US,
            longest_us,
            percent,
            spacing * 100 // floor if floor else 0,
            *(number for window in self.windows for number in window.numbers(lane, shares)),
        ]

    @property
    def _even_spacing_us(self) -> int:
        """The µs between two permits of an hour (or a day) that is used evenly; 0 without a limit."""
        return next((window.length_us // window.calls for window in self.windows), 0)
