"""The queues between what is due and the workers, whose messages a test handles when it likes."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from tests.unit.conftest import Household
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import Series
from worker.sync.due import DueWindows


@dataclass
class DueQueue:
    """Published windows that no worker has taken yet; ``published`` and ``asked`` count (account, series)."""

    household: Household
    waiting: deque[tuple[WindowJob, str]] = field(default_factory=deque)
    published: Counter[tuple[str, str]] = field(default_factory=Counter)
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)

    def publish(self, job: WindowJob, queue: str) -> None:
        self.waiting.append((job, queue))
        self.published[job["account_id"], job["series"]] += 1

    def due(self, **options: Any) -> DueWindows:
        return self.household.due_windows(self.publish, **options)

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
