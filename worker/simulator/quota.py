"""Call quota of the simulated supplier, and its report of the calls that it received."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from worker.domain.measures.answers import Json

_HOUR_S: Final = 3600


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
    """Quota of each API: calls per second, and calls per hour of the clock; a refused call doesn't count.

    Moments come from the simulated clock, which runs at normal speed.
    """

    def __init__(self, per_second: int | None = None, per_hour: int | None = None) -> None:
        self.set(per_second, per_hour)

    def set(self, per_second: int | None, per_hour: int | None) -> None:
        """Set new limits and forget the calls counted so far."""
        self.per_second = per_second
        self.per_hour = per_hour
        self._last_second: defaultdict[str, deque[datetime]] = defaultdict(deque)
        self._hours: Counter[tuple[str, datetime]] = Counter()

    def take(self, api: str, now: datetime) -> ReachedLimit | None:
        """Count a call and return None, or return the limit that refuses it."""
        hour = start_of_hour(now)
        if self.per_hour is not None and self._hours[api, hour] >= self.per_hour:
            return ReachedLimit.hourly(now)
        recent = self._recent(api, now)
        if self.per_second is not None and len(recent) >= self.per_second:
            return ReachedLimit(True, recent[0] + timedelta(seconds=1))
        if self.per_second is not None:
            recent.append(now)
        if self.per_hour is not None:
            self._hours[api, hour] += 1
        return None

    def _recent(self, api: str, now: datetime) -> deque[datetime]:
        """Return the calls of the second before ``now``, without those that a clock set back has left in the future."""
        recent = self._last_second[api]
        while recent and not now - timedelta(seconds=1) < recent[0] <= now:
            recent.popleft()
        return recent


@dataclass(slots=True)
class Peaks:
    """Highest number of calls in any second and in any hour, as sliding spans; the hour counts by whole seconds."""

    max_in_any_second: int = 0
    max_in_any_hour: int = 0
    calls: int = 0
    _second: deque[float] = field(default_factory=deque)
    _hour: deque[tuple[int, int]] = field(default_factory=deque)
    _in_hour: int = 0

    def add(self, now_s: float) -> None:
        """Count a call at ``now_s``, in seconds since 1970."""
        if self._second and now_s < self._second[-1]:
            # The clock was set back, so the spans begin again.
            self._second.clear()
            self._hour.clear()
            self._in_hour = 0
        self.calls += 1
        self._second.append(now_s)
        while self._second[0] <= now_s - 1:
            self._second.popleft()
        self._add_to_hour(int(now_s))
        self.max_in_any_second = max(self.max_in_any_second, len(self._second))
        self.max_in_any_hour = max(self.max_in_any_hour, self._in_hour)

    def _add_to_hour(self, second: int) -> None:
        if self._hour and self._hour[-1][0] == second:
            self._hour[-1] = (second, self._hour[-1][1] + 1)
        else:
            self._hour.append((second, 1))
        self._in_hour += 1
        while self._hour[0][0] <= second - _HOUR_S:
            self._in_hour -= self._hour.popleft()[1]


class CallReport:
    """Report of the calls that the supplier received; its peaks cover the calls that a quota counts."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Set every count to zero."""
        self._calls = 0
        self._by_status: Counter[int] = Counter()
        self._by_path: Counter[str] = Counter()
        self._by_usage_point: Counter[str] = Counter()
        self._peaks = Peaks()
        self._by_api: defaultdict[str, Peaks] = defaultdict(Peaks)
        self._tokens: Counter[str] = Counter()

    def add_call(self, path: str, usage_point: str | None, api: str | None, now: datetime) -> None:
        """Count a call; ``path`` is its route, ``api`` the quota it falls under, None for consent and tokens."""
        self._calls += 1
        self._by_path[path] += 1
        if usage_point:
            self._by_usage_point[usage_point] += 1
        if api is not None:
            self._peaks.add(now.timestamp())
            self._by_api[api].add(now.timestamp())

    def add_status(self, status: int) -> None:
        """Count an answer by its HTTP status."""
        self._by_status[status] += 1

    def add_token(self, grant_type: str) -> None:
        """Count an issued token by its OAuth grant type."""
        self._tokens[grant_type] += 1

    def as_json(self) -> Json:
        """Return the report as ``/__sim__/report`` shows it."""
        return {
            "calls": self._calls,
            "data_calls": self._peaks.calls,
            "by_status": {str(status): count for status, count in sorted(self._by_status.items())},
            "by_path": dict(sorted(self._by_path.items())),
            "by_usage_point": dict(sorted(self._by_usage_point.items())),
            "by_api": {api: _peaks_json(peaks) for api, peaks in sorted(self._by_api.items())},
            "max_in_any_second": self._peaks.max_in_any_second,
            "max_in_any_hour": self._peaks.max_in_any_hour,
            "refusals": self._by_status[429],
            "tokens": dict(sorted(self._tokens.items())),
        }


def _peaks_json(peaks: Peaks) -> Json:
    return {
        "calls": peaks.calls,
        "max_in_any_second": peaks.max_in_any_second,
        "max_in_any_hour": peaks.max_in_any_hour,
    }
