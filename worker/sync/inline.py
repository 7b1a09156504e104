"""The sync of windows without the queue: the same steps and retries in this process, one window after another."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import Final

from worker.domain.messages import WindowJob, WindowResult
from worker.domain.retry import MAX_RETRIES, retry_delay_s
from worker.domain.windows import PARIS
from worker.errors import AccountError, IncidentOpen, RateLimited, TransientError, WorkerError
from worker.sync.claims import WindowClaims
from worker.sync.results import ResultRecorder
from worker.sync.window import WindowSync

MOST_TRIES: Final = 1 + MAX_RETRIES
# A person at the screen gets an error rather than an hour's wait.
LONGEST_WAIT_S: Final = 120.0


@dataclass(kw_only=True)
class Inline:
    """Syncs windows without the queue. ``print_line``: prints why a try failed. ``failures``: the failed windows."""

    claims: WindowClaims
    window_sync: WindowSync
    results: ResultRecorder
    print_line: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    failures: list[dict[str, str]] = field(default_factory=list)

    def run_look_back(self, *account_ids: str) -> Iterator[WindowResult]:
        """Sync the last days of each series, account by account; a failed window stops no other account."""
        for account_id in account_ids:
            collected = self.claims.registry.outcomes.collected(account_id)
            yield from self._run(self.claims.manual_look_back(account_id, series) for series in collected)

    def run_history(self, *account_ids: str) -> Iterator[WindowResult]:
        """Sync all missing windows, account by account, daily values first, newest window first."""
        for account_id in account_ids:
            for series in self.claims.registry.outcomes.collected(account_id):
                windows = self.claims.history.missing_windows(account_id, series)
                yield from self._run(
                    self.claims.to_job(account_id, series, window)
                    for window in windows
                    # When an answer has shown the supplier's earliest day, the windows before that day are covered.
                    if not self.claims.history.covers(account_id, series, window)
                )

    def ask_once(self, account_id: str) -> str:
        """Sync the last days of an account's first series in one try; return the error's code, empty if none."""
        for series in self.claims.registry.outcomes.collected(account_id)[:1]:
            job = self.claims.manual_look_back(account_id, series)
            try:
                self.window_sync.sync_window(job)
            except WorkerError as error:
                self._give_up(job, error)
                return error.code
        return ""

    def _run(self, jobs: Iterable[WindowJob]) -> Iterator[WindowResult]:
        """Sync an account's windows one by one; leave out the rest after an error that only the holder can resolve."""
        for job in jobs:
            try:
                yield self._sync_with_retries(job)
            except WorkerError as error:
                self._give_up(job, error)
                if isinstance(error, AccountError):
                    return

    def _sync_with_retries(self, job: WindowJob) -> WindowResult:
        for retries in count():
            try:
                return self.window_sync.sync_window(job)
            except TransientError as error:
                wait_s = retry_delay_s(retries, error.retry_after_s, random.random)
                if retries + 1 == MOST_TRIES or wait_s > LONGEST_WAIT_S:
                    raise
                self.print_line(f"{error}; retrying in {wait_s:.0f} s")
                self.sleep(wait_s)
        raise AssertionError("unreachable")

    def _give_up(self, job: WindowJob, error: WorkerError) -> None:
        self.results.record_failure(job, error)
        self.failures.append({**_window_fields(job), "code": error.code, "reason": str(error)})
        window = f"{job['account_id']} {job['series']} {job['start']}/{job['end']}"
        self.print_line(f"{window}: {error}{self._describe_turn(error)}")

    def _describe_turn(self, error: WorkerError) -> str:
        """Return a text that says when our own rate limit allows the call again; empty if that is unknown."""
        if not isinstance(error, RateLimited) or isinstance(error, IncidentOpen) or error.retry_after_s is None:
            return ""
        turn = self.claims.now() + timedelta(seconds=error.retry_after_s)
        return f"; try again after {turn.astimezone(PARIS):%Y-%m-%d %H:%M}"


def _window_fields(job: WindowJob) -> dict[str, str]:
    return {name: str(job[name]) for name in ("account_id", "series", "start", "end")}
