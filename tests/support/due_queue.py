"""The queues between what is due and the workers, whose messages a test handles when it likes."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.unit.conftest import Household
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import Series
from worker.sync.claims import queue_of
from worker.sync.due import DueWindows


@dataclass
class DueQueue:
    """Published windows that no worker has taken yet; ``published`` and ``asked`` count (account, series)."""

    household: Household
    waiting: deque[tuple[WindowJob, str]] = field(default_factory=deque)
    published: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)

    def publish(self, jobs: Sequence[WindowJob]) -> int:
        """Publish windows as ``tasks.pipeline.publish`` does, and return their number."""
        for job in jobs:
            self.waiting.append((job, queue_of(job)))
            self.published[job["account_id"], job["series"]] += 1
        return len(jobs)

    def feed_night(self, before: datetime, **options: Any) -> bool:
        """Publish what is due of a night, and return whether more is."""
        jobs, more = self.due(**options).night(before)
        self.publish(jobs)
        return more

    def feed_catch_up(self, since: datetime, before: datetime, **options: Any) -> bool:
        jobs, more = self.due(**options).catch_up(since, before)
        self.publish(jobs)
        return more

    def feed_histories(self, **options: Any) -> int:
        due = self.due(**options)
        return sum(self.publish(due.next_of_history(*history)) for history in due.histories())

    def due(self, **options: Any) -> DueWindows:
        return self.household.due_windows(**options)

    def queues(self) -> Counter[str]:
        return Counter(queue for _, queue in self.waiting)

    def work(self, most: int = 10_000) -> None:
        """Handle messages as ``tasks.pipeline.fetch`` and the steps after it do."""
        for _ in range(min(most, len(self.waiting))):
            self.handle(self.waiting.popleft()[0])

    def handle(self, message: WindowJob) -> None:
        job = self.household.claims.confirm(message)
        if job is not None:
            self.asked[job["account_id"], job["series"]] += 1
            self.household.run(job)


def everything_once(accounts: list[str]) -> Counter[tuple[str, str]]:
    return Counter((account, series.value) for account in accounts for series in Series)
