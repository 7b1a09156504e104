"""Waiting before the screen for what workers do: bars that move, an end that says what failed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.cli.common import print_json, warn
from worker.domain.consent.accounts import Account
from worker.domain.measures.messages import split_claim
from worker.domain.measures.readings import Series
from worker.runtime.process import Runtime
from worker.sync.claims import BACKFILL

_POLL_S: Final = 0.5

Left = Callable[[Account], tuple[int, int]]  # done and wanted


def look_back_left(runtime: Runtime, account: Account, run: str) -> tuple[int, int]:
    """Series of the run that have ended, well or not."""
    states = runtime.state.task_states([(account.id, series.value) for series in Series])
    ended = sum(
        f"{series.value}/{run}" in (noted.get("last_run"), noted.get("failed_run"))
        for series, noted in zip(Series, states, strict=True)
    )
    return ended, len(Series)


def history_left(runtime: Runtime, account: Account) -> tuple[int, int]:
    """Days; a series whose windows were given up counts as done, its error is told at the end."""
    done = total = 0
    for series in Series:
        series_done, series_total = runtime.history.days(account.id, series)
        given_up = series_done < series_total and runtime.dispatcher.given_up(account.id, series)
        done += series_total if given_up else series_done
        total += series_total
    return done, total


def watch(runtime: Runtime, accounts: list[Account], as_json: bool, left: Left) -> int:
    """Come back when nothing is left, or nothing moves any more; the exit code."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    stalled: list[Account] = []
    with Progress(*columns, disable=as_json) as progress:
        bars = {account.id: progress.add_task(account.id, total=None) for account in accounts}
        patience = _Patience(runtime)
        waiting = list(accounts)
        while waiting:
            for account in list(waiting):
                done, total = left(account)
                progress.update(bars[account.id], completed=done, total=total)
                if done >= total or not runtime.registry.get(account.id).active:
                    waiting.remove(account)
                elif patience.ends(account, done):
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


class _Patience:
    """Ends where an account neither moves nor has work in flight for three rounds of the reconciler."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._longest_s = 3.0 * runtime.settings.reconcile_every_s
        self._seen: dict[str, tuple[int, float]] = {}

    def ends(self, account: Account, done: int) -> bool:
        now = time.monotonic()
        known, since = self._seen.get(account.id, (-1, now))
        if done != known or self._runtime.state.is_claimed(account.id, *split_claim(BACKFILL)):
            self._seen[account.id] = (done, now)
            return False
        return now - since > self._longest_s


def _failures(runtime: Runtime, account: Account) -> Iterator[str]:
    for series, outcome in runtime.registry.outcomes(account.id).items():
        if outcome.code:
            yield f"account {account.id}: {series.value}: {outcome.message} ({outcome.code})"
    now = runtime.registry.get(account.id)
    if not now.active:
        yield f"account {account.id} is {now.state} {now.reason}: `releve status {account.id}` says what to do"
