"""The walk without the queue: the same windows in the same order, with the same patience, in this process."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from worker.domain.backoff import retry_delay_s
from worker.domain.batches import Origin, Report
from worker.domain.readings import DateWindow, Series
from worker.errors import AccountError, TransientError, WorkerError
from worker.runtime import Runtime

MOST_TRIES: Final = 4
LONGEST_WAIT_S: Final = 120.0  # who sits before the screen is told rather than kept waiting for an hour


@dataclass
class Inline:
    """``say`` gets one line for whatever a person should know; ``failures`` collects what was given up."""

    runtime: Runtime
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    failures: list[dict[str, str]] = field(default_factory=list)

    def look_back(self, account_id: str) -> Iterator[Report]:
        """The last days of both series; a curve that can't be had doesn't stop the daily values."""
        origins = [self.runtime.dispatcher.look_back_now(account_id, series) for series in Series]
        yield from self._run(origins)

    def history(self, account_id: str) -> Iterator[Report]:
        """All missing windows, daily values first, newest window first."""
        for series in Series:
            windows = self.runtime.history.missing(account_id, series)
            yield from self._run(
                self.runtime.dispatcher.window_by_hand(account_id, series, window)
                for window in self._still_missing(account_id, series, windows)
            )

    def _still_missing(self, account_id: str, series: Series, windows: list[DateWindow]) -> Iterator[DateWindow]:
        """A window before the supplier's floor is done as soon as the floor is known: ask no more for it."""
        for window in windows:
            if not self.runtime.history.covers(account_id, series, window):
                yield window

    def _run(self, origins: Iterator[Origin] | list[Origin]) -> Iterator[Report]:
        for origin in origins:
            try:
                yield self._patiently(origin)
            except AccountError as error:
                self._give_up(origin, error)
                return
            except WorkerError as error:
                self._give_up(origin, error)

    def _patiently(self, origin: Origin) -> Report:
        for tried in range(MOST_TRIES):
            try:
                return self.runtime.walk.sync_window(origin)
            except TransientError as error:
                wait_s = retry_delay_s(tried, error.retry_after_s, random.random)
                if tried + 1 == MOST_TRIES or wait_s > LONGEST_WAIT_S:
                    raise
                self.say(f"{error}; trying again in {wait_s:.0f} s")
                self.sleep(wait_s)
        raise AssertionError("unreachable")

    def _give_up(self, origin: Origin, error: WorkerError) -> None:
        self.runtime.journal.failed(origin, error)
        self.failures.append({**_told(origin), "code": error.code, "reason": str(error)})
        self.say(f"{origin['account_id']} {origin['series']} {origin['start']}/{origin['end']}: {error}")


def _told(origin: Origin) -> dict[str, str]:
    return {name: str(origin[name]) for name in ("account_id", "series", "start", "end")}
