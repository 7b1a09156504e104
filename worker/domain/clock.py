"""The time the system lives at: now, or for recorded years a pretended one that flows from the process's start."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def real_clock() -> datetime:
    return datetime.now(UTC)


def clock_from(pretend_now: datetime | None) -> Clock:
    """A clock that stands at ``pretend_now`` (zone-aware) at this moment and runs on from there."""
    if pretend_now is None:
        return real_clock
    ahead = pretend_now - real_clock()
    return lambda: real_clock() + ahead
