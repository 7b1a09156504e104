"""A queue between fan-out and workers, whose messages a test handles when it likes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.unit.conftest import Household
from worker.domain.fleet.outcomes import AnswerClass, Call
from worker.domain.measures.messages import WindowJob, night_of, window_of
from worker.domain.measures.readings import Series
from worker.sync.due import FanOut


@dataclass
class Queue:
    """Published windows that no worker has taken yet."""

    household: Household
    all_steps: bool = True
    waiting: list[WindowJob] = field(default_factory=list)
    published: Counter[tuple[str, str]] = field(default_factory=Counter)
    # The windows asked of the supplier.
    asked: Counter[tuple[str, str]] = field(default_factory=Counter)

    def publish(self, pairs: Sequence[tuple[str, Series]], run: str) -> int:
        jobs = self.household.claims.claim_look_backs(pairs, run)
        self.waiting += jobs
        self.published.update((job["account_id"], job["series"]) for job in jobs)
        return len(jobs)

    def length(self, name: str) -> int:
        assert name == "nightly"
        return len(self.waiting)

    def work(self, most: int = 1000) -> None:
        """Handle messages as ``tasks.pipeline.fetch`` and the steps after it do."""
        for _ in range(min(most, len(self.waiting))):
            job = self.household.claims.refresh_window(self.waiting.pop(0))
            if job is not None:
                self.asked[job["account_id"], job["series"]] += 1
                self.household.run(job) if self.all_steps else self._end(job)

    def _end(self, job: WindowJob) -> None:
        """Record a look-back that returned nothing new, without its steps."""
        night, progress = night_of(job["claim"]), self.household.progress
        if night is not None:
            call = Call(self.household.at, window_of(job), AnswerClass.NO_DATA, "nightly")
            progress.record_night(job["account_id"], job["series"], night, call)
        self.household.claims.release_claim(job["account_id"], str(job["claim"]), job["run_id"])

    def fan_out(self, most_waiting: int = 1000, **options: Any) -> FanOut:
        household = self.household
        return FanOut(
            claims=household.claims,
            progress=household.progress,
            publish=self.publish,
            queue_length=self.length,
            most_waiting=most_waiting,
            **options,
        )


def accounts_of(queue: Queue) -> list[str]:
    return [account.id for page in queue.household.claims.pages_after(None) for account in page]


def everything_once(queue: Queue) -> Counter[tuple[str, str]]:
    return Counter((account, series.value) for account in accounts_of(queue) for series in Series)
