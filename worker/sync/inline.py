"""Windows without the queue: the same steps and retries in this process, for many accounts at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from worker.domain.fleet.backoff import MAX_RETRIES, retry_delay_s
from worker.domain.measures.messages import WindowJob, WindowResult
from worker.domain.measures.readings import DateWindow, Series
from worker.errors import AccountError, TransientError, WorkerError
from worker.sync.claims import ClaimPolicy
from worker.sync.history import History
from worker.sync.results import ResultRecorder
from worker.sync.window import WindowSync

MOST_TRIES: Final = 1 + MAX_RETRIES
# Accounts whose documents are in memory together.
MOST_AT_ONCE: Final = 100
# A person at the screen gets an error instead of a wait of an hour.
LONGEST_WAIT_S: Final = 120.0


@dataclass(kw_only=True)
class Inline:
    """Windows without the queue; ``print_line`` gets lines for a person, ``failures`` the windows that failed."""

    claims: ClaimPolicy
    windows: History
    window_sync: WindowSync
    results: ResultRecorder
    print_line: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    failures: list[dict[str, str]] = field(default_factory=list)

    def look_back(self, *account_ids: str) -> Iterator[WindowResult]:
        """Sync the last days of both series for many accounts, with common requests to the store.

        A load curve that fails does not stop the daily values.
        """
        manual_look_back = self.claims.manual_look_back
        for first in range(0, len(account_ids), MOST_AT_ONCE):
            page = account_ids[first : first + MOST_AT_ONCE]
            yield from self._run([manual_look_back(account_id, series) for account_id in page] for series in Series)

    def history(self, account_id: str) -> Iterator[WindowResult]:
        """Sync all missing windows, daily values first, newest window first."""
        for series in Series:
            windows = self.windows.missing_windows(account_id, series)
            yield from self._run(
                [self.claims.manual_window(account_id, series, window)]
                for window in self._still_missing(account_id, series, windows)
            )

    def _still_missing(self, account_id: str, series: Series, windows: list[DateWindow]) -> Iterator[DateWindow]:
        """Yield the windows that are still missing: once the supplier's floor is known, those before it are done."""
        for window in windows:
            if not self.windows.covers(account_id, series, window):
                yield window

    def _run(self, groups: Iterable[Sequence[WindowJob]]) -> Iterator[WindowResult]:
        """Sync group by group; an account that waits for its owner is left out from then on."""
        waiting: set[str] = set()
        for group in groups:
            jobs = [job for job in group if job["account_id"] not in waiting]
            for job, outcome in zip(jobs, self.window_sync.sync_windows(jobs), strict=True):
                try:
                    yield self._retry(job, outcome)
                except WorkerError as error:
                    self._give_up(job, error)
                    if isinstance(error, AccountError):
                        waiting.add(job["account_id"])

    def _retry(self, job: WindowJob, outcome: WindowResult | WorkerError) -> WindowResult:
        """Return the result of a window after retries by itself, or raise its last error."""
        attempts = 1
        while isinstance(outcome, TransientError) and attempts < MOST_TRIES:
            wait_s = retry_delay_s(attempts - 1, outcome.retry_after_s, random.random)
            if wait_s > LONGEST_WAIT_S:
                break
            self.print_line(f"{outcome}; trying again in {wait_s:.0f} s")
            self.sleep(wait_s)
            [outcome] = self.window_sync.sync_windows([job])
            attempts += 1
        if isinstance(outcome, WorkerError):
            raise outcome
        return outcome

    def _give_up(self, job: WindowJob, error: WorkerError) -> None:
        self.results.record_failure(job, error)
        self.failures.append({**_window_fields(job), "code": error.code, "reason": str(error)})
        self.print_line(f"{job['account_id']} {job['series']} {job['start']}/{job['end']}: {error}")


def _window_fields(job: WindowJob) -> dict[str, str]:
    return {name: str(job[name]) for name in ("account_id", "series", "start", "end")}
