"""The clock of the system: the real time, or a simulated one with which recorded years are replayed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def real_clock() -> datetime:
    """Return the real time, in UTC."""
    return datetime.now(UTC)


def clock_from(pretend_now: datetime | None) -> Clock:
    """Return a clock that shows ``pretend_now`` (zone-aware) now and runs on from there; None gives the real clock."""
    if pretend_now is None:
        return real_clock
    ahead = pretend_now - real_clock()
    return lambda: real_clock() + ahead
