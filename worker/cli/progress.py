"""Progress bars in the terminal while workers run a look-back or a backfill, and the failures at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from worker.cli.common import print_json
from worker.domain.account import Account
from worker.domain.series import Series
from worker.ops.logging_setup import warn
from worker.runtime.sync_parts import Runtime
from worker.stores.redis.claims import member_of
from worker.sync.claims import LANES

_POLL_S: Final = 0.5
# A history that goes on later than this has failed too often today.
_GIVEN_UP: Final = timedelta(hours=1)
ProgressCounter = Callable[[Account], tuple[int, int]]  # Returns the numbers done and wanted.


def look_back_progress(
    runtime: Runtime, account: Account, asked_before: Mapping[Series, datetime | None]
) -> tuple[int, int]:
    """Count the series that were asked since ``asked_before`` was read, with or without success."""
    now = asked_at(runtime, account)
    return sum(now.get(series) != asked for series, asked in asked_before.items()), len(asked_before)


def asked_at(runtime: Runtime, account: Account) -> dict[Series, datetime | None]:
    """Return when each series that the account is asked for was asked last."""
    outcomes, collected = runtime.registry.outcomes.load(account.id), runtime.registry.outcomes.collected(account.id)
    return {series: outcomes[series].asked_at if series in outcomes else None for series in collected}


def history_progress(runtime: Runtime, account: Account) -> tuple[int, int]:
    """Count days of history.  A series that was given up counts as done; its error is printed at the end."""
    done = total = 0
    outcomes = runtime.registry.outcomes.load(account.id)
    for series in runtime.registry.outcomes.collected(account.id):
        series_done, series_total = runtime.history.count_days(account.id, series)
        goes_on = outcomes[series].history_due_at if series in outcomes else None
        given_up = goes_on is not None and goes_on - runtime.now() > _GIVEN_UP
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
        *(
            f"account {account.id}: no progress, and nothing is queued: check that beat is running"
            for account in stalled
        ),
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
        if done != known or self._is_in_flight(account):
            self._last_change[account.id] = (done, now)
            return False
        return now - since > self._longest_s

    def _is_in_flight(self, account: Account) -> bool:
        claims = self._runtime.claims
        members = {member_of(account.id, series) for series in Series}
        return any(members & set(claims.in_flight(lane)) for lane in LANES)


def _failures(runtime: Runtime, account: Account) -> Iterator[str]:
    for series, outcome in runtime.registry.outcomes.load(account.id).items():
        if outcome.code:
            yield f"account {account.id}: {series.value}: {outcome.message} ({outcome.code})"
    now = runtime.registry.get(account.id)
    if not now.active:
        yield f"account {account.id} is {now.state} {now.reason}: `releve status {account.id}` says what to do"
