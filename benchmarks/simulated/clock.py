"""A clock that jumps from event to event, in whole microseconds."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any, Final

from worker.domain.measures.readings import PARIS

SECOND_US: Final = 1_000_000
MINUTE_US: Final = 60 * SECOND_US
HOUR_US: Final = 3600 * SECOND_US
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class SimulatedClock:
    """A clock that starts at ``begin``; ``run`` calls the scheduled callbacks in the order of time."""

    def __init__(self, begin: datetime) -> None:
        self.begin_us = self.us = to_us(begin)
        self._events: list[tuple[int, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = count()

    def now_us(self) -> int:
        return self.us

    def now(self) -> datetime:
        return _EPOCH + timedelta(microseconds=self.us)

    def local(self) -> datetime:
        return self.now().astimezone(PARIS)

    @property
    def hour(self) -> int:
        """Whole hours since the beginning."""
        return (self.us - self.begin_us) // HOUR_US

    def schedule_at(self, us: int, callback: Callable[..., None], *args: Any) -> None:
        heapq.heappush(self._events, (max(us, self.us), next(self._numbers), callback, args))

    def schedule_after(self, seconds: float, callback: Callable[..., None], *args: Any) -> None:
        self.schedule_at(self.us + round(seconds * SECOND_US), callback, *args)

    def run(self, until_us: int, each_hour: Callable[[], None] = lambda: None) -> None:
        """Call the callbacks scheduled before ``until_us``; ``each_hour`` is called after each simulated hour."""
        events, hour = self._events, self.hour
        while events and events[0][0] < until_us:
            self.us, _, callback, args = heapq.heappop(events)
            callback(*args)
            if self.us - self.begin_us >= (hour + 1) * HOUR_US:
                hour = self.hour
                each_hour()
        self.us = until_us


def to_us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def paris_us(day: date, hour: float) -> int:
    """Return the instant of an hour in Paris, on days without a clock change."""
    return to_us(datetime(day.year, day.month, day.day, tzinfo=PARIS)) + round(hour * HOUR_US)
