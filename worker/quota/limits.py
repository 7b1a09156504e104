"""The limits of a supplier and the shares of the lanes, as the numbers with which the ledger's script counts.

A limit over an hour or a day counts all calls in any span of this length, so no order of calls can exceed it. What the
lanes have not used of their floors is lent to the others, evenly over the window: a lane may take a permit if after it
the floors of the others can still come evenly, together with what drops out of the window by then. So nothing lies
idle, and a lane that begins to work finds its floor coming back at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from worker.domain.lanes import EQUAL_SHARES, LANES, QUOTA_LANES, Lane, Shares

SECOND_MS: Final = 1000
HOUR_MS: Final = 3_600_000
RAMP_US: Final = 60_000_000  # The gate opens gradually over this time, after it was closed.
# Without a limit a second, the gate's ramp ends at four calls a second.
RAMP_SPACING_US: Final = 250_000
# A bucket of an hour has 22.5 s. A call may wait for up to one bucket longer than needed.
BUCKETS: Final = 160
# For each lane before it, a lane above its floor leaves a four-hundredth of the limit.
_LEFT: Final = 400
# Above its floor a lane waits for this share of its patience only, so that lanes before it can book further ahead.
_PERCENT_OF_PATIENCE: Final = (85, 65, 45, 25, 15)
# A caller waits for a permit of the next slots, so that calls which follow each other are made even at 1 call a second.
_SLOTS_WAITED_FOR: Final = 4
_SHORTEST_WAIT_S: Final = 1.0


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
        return self.length_us // BUCKETS

    def numbers(self, lane: Lane, shares: Shares) -> list[int]:
        """Return the window's arguments of ``scripts.TAKE_PERMIT``, in its order."""
        return [
            self.calls,
            self.bucket_us,
            (self.calls * _rank(lane, shares) + _LEFT // 2) // _LEFT,
            -(-self.calls * shares.ceiling(lane) // 100),
            *(self.calls * shares.floor(other) // 100 for other in QUOTA_LANES),
        ]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one supplier; None means no limit. The lengths differ from the usual ones in tests only."""

    per_second: int | None
    per_hour: int | None
    per_day: int | None
    day_hours: int  # The length of the span that is called a day.
    second_ms: int
    hour_ms: int

    @property
    def windows(self) -> tuple[QuotaSpan, ...]:
        """The limits of the hour and of the day that there are."""
        limits = (("hourly", self.per_hour, self.hour_ms), ("daily", self.per_day, self.day_hours * HOUR_MS))
        return tuple(QuotaSpan(name, calls, length_ms * 1000) for name, calls, length_ms in limits if calls)

    @property
    def spacing_us(self) -> int:
        """The µs between two permits; 0 without a limit a second."""
        return spacing_us(self.per_second, self.second_ms) if self.per_second else 0

    @property
    def longest_wait_s(self) -> float:
        """How long a caller waits for a permit at most: some slots of the pace, and a second at least."""
        return max(_SHORTEST_WAIT_S, _SLOTS_WAITED_FOR * self.spacing_us / 1e6)

    def numbers(self, lane: Lane, shares: Shares, longest_us: int) -> list[int]:
        """Return the arguments of ``scripts.TAKE_PERMIT`` that are the same in all calls of ``lane``."""
        spacing = self.spacing_us
        floor = shares.floor(lane)
        percent = 100 if shares == EQUAL_SHARES else _PERCENT_OF_PATIENCE[_rank(lane, shares)]
        return [
            spacing,
            RAMP_US,
            spacing or RAMP_SPACING_US,
            longest_us,
            percent,
            spacing * 100 // floor if floor else 0,
            BUCKETS,
            len(QUOTA_LANES),
            int(LANES[lane].hard_ceiling),
            *(number for window in self.windows for number in window.numbers(lane, shares)),
        ]


def _rank(lane: Lane, shares: Shares) -> int:
    """Return how many lanes are served before this one; none with equal shares."""
    return 0 if shares == EQUAL_SHARES else QUOTA_LANES.index(lane)
