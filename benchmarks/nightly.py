"""Benchmark of the nightly run: accounts a second that it brings up to date, for each store.

Each account has a year of daily values and a week of load curve already.  Two nights follow, each from the message
that beat sends until the last window is done: one without anything new, and one a day later.  ``step_wait_p95_s`` is
how long a step waited at most behind the one before it, in 95 of 100 cases.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime, time, timedelta

from common import TODAY, BenchmarkSystem, Json, morning, next_day, parse_options, run, stored_documents

from drill.servers import MeasuresReceiver
from tests.support.parts import Parts
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import PARIS, DateWindow

HISTORY_DAYS = {Series.DAILY: 365, Series.LOAD_CURVE: 7}
# What runs during a night; its argument is the workers' pids.
WatchProcesses = Callable[[list[int]], AbstractContextManager[object]]


def nightly(system: BenchmarkSystem) -> Json:
    with system.open_runtime(TODAY) as parts:
        accounts = system.add_accounts(parts)
        seed(system, parts, accounts)
    with MeasuresReceiver() as receiver:
        if system.args.webhook:
            with system.open_runtime(TODAY) as parts:
                receiver.set_up(parts)
        return {
            "unchanged": night(system, TODAY, accounts),
            "one new day": night(system, next_day(TODAY), accounts),
        }


def seed(system: BenchmarkSystem, parts: Parts, accounts: list[str]) -> None:
    """Load the history by the same steps, without the queue."""

    def load_history(account_id: str) -> None:
        system.deadline.check("the seeding")
        for series, days in HISTORY_DAYS.items():
            window = DateWindow(TODAY - timedelta(days=days), TODAY)
            parts.sync.window.sync_window(parts.sync.claims.to_job(account_id, series, window))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(load_history, accounts))


def night(
    system: BenchmarkSystem, today: date, accounts: list[str], watch: WatchProcesses = lambda pids: nullcontext()
) -> Json:
    """Run the night of ``today`` with newly started, idle workers, and measure it."""
    system.call_simulator("POST", "clock", {"now": morning(today)})
    began = datetime.combine(today, time(), PARIS)
    with (
        system.open_runtime(today) as parts,
        system.workers(today, app="benchmarks.timed_worker") as pids,
        watch(pids),
    ):
        documents = stored_documents(parts, accounts)
        measured = system.measure(
            parts,
            lambda: system.send_task("tasks.nightly.nightly_sync", today.isoformat()),
            lambda: (
                not any(
                    parts.stores.registry.due.count_due_tonight(series, 1, began, began.date())
                    for series in USUAL_SERIES
                )
            ),
        )
        new = stored_documents(parts, accounts) - documents
        waits_s = system.step_waits_s(pids)
    windows = len(USUAL_SERIES) * len(accounts)
    return {
        "accounts_per_second": round(len(accounts) / measured["seconds"], 1),
        "windows": windows,
        "windows_per_second": round(windows / measured["seconds"], 1),
        "new_documents": new,
        "step_wait_p95_s": round(waits_s[int(0.95 * len(waits_s))], 2),
        **measured,
    }


if __name__ == "__main__":
    args = parse_options(__doc__, accounts=200)
    sys.exit(run("nightly", args, nightly))
