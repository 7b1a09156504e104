"""The clock of the system: it shows the real time, or a simulated time to replay recorded years."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Final

Clock = Callable[[], datetime]
real_clock: Final[Clock] = partial(datetime.now, UTC)


def clock_from(pretend_now: datetime | None) -> Clock:
    """Return a clock that now shows ``pretend_now`` (zone-aware) and runs on; for None, return the real clock."""
    if pretend_now is None:
        return real_clock
    ahead = pretend_now - real_clock()
    return lambda: real_clock() + ahead
