"""Call quota of the simulated supplier, and its report of the calls that it received."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from datetime import date, datetime, timedelta
from typing import NamedTuple

from worker.domain.measures.answers import Json


class ReachedLimit(NamedTuple):
    """Limit that refuses a call, and when the next call is allowed."""

    per_second: bool
    opens_at: datetime

    @classmethod
    def hourly(cls, now: datetime) -> ReachedLimit:
        """Return the hourly limit, which opens with the next hour of the clock."""
        return cls(False, start_of_hour(now) + timedelta(hours=1))


def start_of_hour(now: datetime) -> datetime:
    """Return the beginning of the hour of ``now``."""
    return now.replace(minute=0, second=0, microsecond=0)


class CallQuota:
    """Quota of each API: calls per second, per hour of the clock and per day in UTC; a refused call doesn't count.

    Moments come from the simulated clock, which runs at normal speed.
    """

    def __init__(self, per_second: int | None = None, per_hour: int | None = None, per_day: int | None = None) -> None:
        self.per_second = per_second
        self.per_hour = per_hour
        self.per_day = per_day
        self._last_second: defaultdict[str, deque[datetime]] = defaultdict(deque)
        self._hours: Counter[tuple[str, datetime]] = Counter()
        self._days: Counter[tuple[str, date]] = Counter()

    def take(self, api: str, now: datetime) -> ReachedLimit | None:
        """Count a call and return None, or return the limit that refuses it."""
        hour = start_of_hour(now)
        if self.per_hour is not None and self._hours[api, hour] >= self.per_hour:
            return ReachedLimit.hourly(now)
        if self.per_day is not None and self._days[api, now.date()] >= self.per_day:
            return ReachedLimit(False, start_of_hour(now).replace(hour=0) + timedelta(days=1))
        recent = self._last_second[api]
        # A clock set back leaves calls in the future.
        while recent and not now - timedelta(seconds=1) < recent[0] <= now:
            recent.popleft()
        if self.per_second is not None and len(recent) >= self.per_second:
            return ReachedLimit(True, recent[0] + timedelta(seconds=1))
        recent.append(now)
        self._hours[api, hour] += 1
        self._days[api, now.date()] += 1
        return None


class Peaks:
    """Highest number of calls in any second and in any hour, as sliding spans."""

    def __init__(self) -> None:
        self.calls = self.max_in_any_second = self.max_in_any_hour = 0
        self._second: deque[float] = deque()
        self._hour: deque[float] = deque()

    def add(self, now_s: float) -> None:
        """Count a call at ``now_s``, in seconds since 1970."""
        self.calls += 1
        self.max_in_any_second = max(self.max_in_any_second, _count_in_span(self._second, now_s, 1))
        self.max_in_any_hour = max(self.max_in_any_hour, _count_in_span(self._hour, now_s, 3600))


def _count_in_span(moments: deque[float], now_s: float, length_s: float) -> int:
    """Append a call to those of the span before it and return their number; a clock set back begins a new span."""
    if moments and now_s < moments[-1]:
        moments.clear()
    moments.append(now_s)
    while moments[0] <= now_s - length_s:
        moments.popleft()
    return len(moments)


class CallReport:
    """Report of the calls that the supplier received; its peaks cover the calls that a quota counts."""

    def __init__(self) -> None:
        self._by_status: Counter[int] = Counter()
        self._calls = 0
        self._by_usage_point: Counter[str] = Counter()
        self._peaks = Peaks()
        self._tokens: Counter[str] = Counter()

    def add_call(self, usage_point: str | None, api: str | None, now: datetime) -> None:
        """Count a call; ``api`` is the quota it falls under, None for consent and tokens."""
        self._calls += 1
        if usage_point:
            self._by_usage_point[usage_point] += 1
        if api is not None:
            self._peaks.add(now.timestamp())

    def add_status(self, status: int) -> None:
        """Count an answer by its HTTP status."""
        self._by_status[status] += 1

    def add_token(self, grant_type: str) -> None:
        """Count an issued token by its OAuth grant type."""
        self._tokens[grant_type] += 1

    def as_json(self) -> Json:
        """Return the report as ``/__sim__/report`` shows it."""
        return {
            "max_in_any_second": self._peaks.max_in_any_second,
            "max_in_any_hour": self._peaks.max_in_any_hour,
            "calls": self._calls,
            "data_calls": self._peaks.calls,
            "by_status": {str(status): count for status, count in sorted(self._by_status.items())},
            "by_usage_point": dict(sorted(self._by_usage_point.items())),
            "refusals": self._by_status[429],
            "tokens": dict(sorted(self._tokens.items())),
        }
