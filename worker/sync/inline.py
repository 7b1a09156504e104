"""The walk without the queue: the same windows with the same patience, in this process, many accounts' at once."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from worker.domain.fleet.backoff import retry_delay_s
from worker.domain.measures.messages import WindowJob, WindowResult
from worker.domain.measures.readings import DateWindow, Series
from worker.errors import AccountError, TransientError, WorkerError
from worker.runtime.process import Runtime

MOST_TRIES: Final = 4
MOST_AT_ONCE: Final = 100  # accounts: their documents are in memory together
LONGEST_WAIT_S: Final = 120.0  # who sits before the screen is told rather than kept waiting for an hour


@dataclass
class Inline:
    """``say`` gets one line for whatever a person should know; ``failures`` collects what was given up."""

    runtime: Runtime
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    failures: list[dict[str, str]] = field(default_factory=list)

    def look_back(self, *account_ids: str) -> Iterator[WindowResult]:
        """The last days of both series, of many accounts in common requests to the store.

        A curve that can't be had doesn't stop the daily values.
        """
        look_back_now = self.runtime.dispatcher.look_back_now
        for first in range(0, len(account_ids), MOST_AT_ONCE):
            some = account_ids[first : first + MOST_AT_ONCE]
            yield from self._run([look_back_now(account_id, series) for account_id in some] for series in Series)

    def history(self, account_id: str) -> Iterator[WindowResult]:
        """All missing windows, daily values first, newest window first."""
        for series in Series:
            windows = self.runtime.history.missing(account_id, series)
            yield from self._run(
                [self.runtime.dispatcher.window_by_hand(account_id, series, window)]
                for window in self._still_missing(account_id, series, windows)
            )

    def _still_missing(self, account_id: str, series: Series, windows: list[DateWindow]) -> Iterator[DateWindow]:
        """A window before the supplier's floor is done as soon as the floor is known: ask no more for it."""
        for window in windows:
            if not self.runtime.history.covers(account_id, series, window):
                yield window

    def _run(self, groups: Iterable[Sequence[WindowJob]]) -> Iterator[WindowResult]:
        """Group by group; an account that waits for its owner is left alone from then on."""
        waiting: set[str] = set()
        for group in groups:
            origins = [origin for origin in group if origin["account_id"] not in waiting]
            for origin, outcome in zip(origins, self.runtime.walk.sync_windows(origins), strict=True):
                try:
                    yield self._patiently(origin, outcome)
                except WorkerError as error:
                    self._give_up(origin, error)
                    if isinstance(error, AccountError):
                        waiting.add(origin["account_id"])

    def _patiently(self, origin: WindowJob, outcome: WindowResult | WorkerError) -> WindowResult:
        """What came of a window in the end: what may well work later is tried again, by itself."""
        tried = 1
        while isinstance(outcome, TransientError) and tried < MOST_TRIES:
            wait_s = retry_delay_s(tried - 1, outcome.retry_after_s, random.random)
            if wait_s > LONGEST_WAIT_S:
                break
            self.say(f"{outcome}; trying again in {wait_s:.0f} s")
            self.sleep(wait_s)
            [outcome] = self.runtime.walk.sync_windows([origin])
            tried += 1
        if isinstance(outcome, WorkerError):
            raise outcome
        return outcome

    def _give_up(self, origin: WindowJob, error: WorkerError) -> None:
        self.runtime.journal.failed(origin, error)
        self.failures.append({**_told(origin), "code": error.code, "reason": str(error)})
        self.say(f"{origin['account_id']} {origin['series']} {origin['start']}/{origin['end']}: {error}")


def _told(origin: WindowJob) -> dict[str, str]:
    return {name: str(origin[name]) for name in ("account_id", "series", "start", "end")}
