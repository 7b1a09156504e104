"""The supplier of a simulated week: its answers, its troubles and its count of calls, which is the simulator's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from benchmarks.simulated.clock import HOUR_US
from worker.domain.fleet.lanes import QuotaLane
from worker.errors import RateLimited, SupplierUnavailable, WorkerError
from worker.simulator.quota import CallQuota, Peaks

API: Final = "data"


@dataclass(frozen=True, slots=True)
class Trouble:
    """A time from ``begin_us`` to ``end_us`` in which every call is answered with ``status``.

    ``retry_after_s`` is the wait that a 429 names; None is the time until the end.
    """

    name: str
    begin_us: int
    end_us: int
    status: int
    retry_after_s: float | None = None

    def error(self, at_us: int) -> WorkerError:
        if self.status != 429:
            return SupplierUnavailable(f"the supplier answers {self.status}")
        wait_s = (self.end_us - at_us) / 1e6 if self.retry_after_s is None else self.retry_after_s
        return RateLimited("the supplier refuses", retry_after_s=wait_s)


class Supplier:
    """A supplier with a quota and troubles; ``answer`` must be called in the order of time.

    Refused calls don't count.
    """

    def __init__(self, per_second: int, per_hour: int, troubles: Sequence[Trouble], begin_us: int, hours: int) -> None:
        self._quota, self.peaks = CallQuota(per_second, per_hour), Peaks()
        self._troubles = troubles
        self._begin_us = begin_us
        self.by_hour: list[Counter[QuotaLane]] = [Counter() for _ in range(hours)]
        self.statuses: Counter[int] = Counter()
        self.over_the_limit: Counter[str] = Counter()

    def limit(self, per_second: int, per_hour: int) -> None:
        """Set other limits from now on, without announcing them."""
        self._quota.set(per_second, per_hour)

    def trouble_at(self, at_us: int) -> Trouble | None:
        return next((trouble for trouble in self._troubles if trouble.begin_us <= at_us < trouble.end_us), None)

    def answer(self, at_us: int, lane: QuotaLane) -> WorkerError | None:
        """Return the error of a call, or None when it gets its data."""
        trouble = self.trouble_at(at_us)
        self.peaks.add(at_us / 1e6)
        if trouble is not None and trouble.status == 429:
            self.statuses[429] += 1
            return trouble.error(at_us)
        limit = self._quota.take(API, datetime.fromtimestamp(at_us / 1e6, UTC))
        if limit is not None:
            self.statuses[429] += 1
            self.over_the_limit["second" if limit.per_second else "hour"] += 1
            return RateLimited("over the limit", retry_after_s=60.0)
        self.by_hour[min((at_us - self._begin_us) // HOUR_US, len(self.by_hour) - 1)][lane] += 1
        self.statuses[trouble.status if trouble else 200] += 1
        return trouble.error(at_us) if trouble else None
