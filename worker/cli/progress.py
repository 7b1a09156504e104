"""Progress bars in the terminal while workers run a look-back or a backfill, and the failures at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.cli.common import print_json, warn
from worker.domain.consent.accounts import Account
from worker.domain.measures.messages import BACKFILL, split_claim
from worker.domain.measures.readings import Series
from worker.runtime.process import Runtime

_POLL_S: Final = 0.5

ProgressCounter = Callable[[Account], tuple[int, int]]  # Returns the numbers done and wanted.


def look_back_progress(runtime: Runtime, account: Account, run: str) -> tuple[int, int]:
    """Count the series whose look-back of this run has ended, with or without success."""
    states = runtime.progress.task_states([(account.id, series.value) for series in Series])
    ended = sum(
        f"{series.value}/{run}" in (state.get("last_run"), state.get("failed_run"))
        for series, state in zip(Series, states, strict=True)
    )
    return ended, len(Series)


def history_progress(runtime: Runtime, account: Account) -> tuple[int, int]:
    """Count days of history.  A series that was given up counts as done; its error is printed at the end."""
    done = total = 0
    for series in Series:
        series_done, series_total = runtime.history.count_days(account.id, series)
        given_up = series_done < series_total and runtime.claims.attempts_exhausted(account.id, series)
        done += series_total if given_up else series_done
        total += series_total
    return done, total


def wait_with_progress(
    runtime: Runtime, accounts: list[Account], as_json: bool, count_progress: ProgressCounter
) -> int:
    """Show progress until every account is done or stalled, print the failures, and return the exit code."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    stalled: list[Account] = []
    with Progress(*columns, disable=as_json) as progress:
        bars = {account.id: progress.add_task(account.id, total=None) for account in accounts}
        stalls = _StallDetector(runtime)
        waiting = list(accounts)
        while waiting:
            for account in list(waiting):
                done, total = count_progress(account)
                progress.update(bars[account.id], completed=done, total=total)
                if done >= total or not runtime.registry.get(account.id).active:
                    waiting.remove(account)
                elif stalls.is_stalled(account, done):
                    waiting.remove(account)
                    stalled.append(account)
            if waiting:
                time.sleep(_POLL_S)
    failures = [
        *(f"account {account.id}: nothing moves and nothing is in flight: is beat running?" for account in stalled),
        *(failure for account in accounts for failure in _failures(runtime, account)),
    ]
    for failure in failures:
        warn(failure)
    if as_json:
        print_json({"ok": not failures, "accounts": [account.id for account in accounts]})
    return 1 if failures else 0


class _StallDetector:
    """Tells which accounts neither advance nor have work in flight for three rounds of the reconciler."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._longest_s = 3.0 * runtime.settings.reconcile_every_s
        self._last_change: dict[str, tuple[int, float]] = {}

    def is_stalled(self, account: Account, done: int) -> bool:
        """Record the number done and return whether it has stood still for too long."""
        now = time.monotonic()
        known, since = self._last_change.get(account.id, (-1, now))
        if done != known or self._runtime.progress.is_claimed(account.id, *split_claim(BACKFILL)):
            self._last_change[account.id] = (done, now)
            return False
        return now - since > self._longest_s


def _failures(runtime: Runtime, account: Account) -> Iterator[str]:
    for series, outcome in runtime.registry.load_outcomes(account.id).items():
        if outcome.code:
            yield f"account {account.id}: {series.value}: {outcome.message} ({outcome.code})"
    now = runtime.registry.get(account.id)
    if not now.active:
        yield f"account {account.id} is {now.state} {now.reason}: `releve status {account.id}` says what to do"
