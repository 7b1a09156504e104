"""Benchmark of the nightly run: accounts a second that it brings up to date, for each store.

Each account has a year of daily values and a week of load curve already.  Two nights follow, each from the message
that beat sends until the last window is done: one without anything new, and one a day later.  ``step_wait_p95_s`` is
how long a step waited at most behind the one before it, in 95 of 100 cases.

``processor_ms`` is processor time, which other programs on the machine change little: of the workers for a window and
for Celery's floor, which is a chain of four tasks that do nothing, published by the same workers right after the night;
and of one process that does a window's own work without the queue.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import date, datetime, time, timedelta
from time import process_time

from common import TODAY, BenchmarkSystem, Json, morning, next_day, parse_options, run, stored_documents

from drill.servers import MeasuresReceiver
from tests.support.parts import Parts
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import PARIS, DateWindow

HISTORY_DAYS = {Series.DAILY: 365, Series.LOAD_CURVE: 7}
# What runs during a night; its argument is the workers' pids.
WatchProcesses = Callable[[list[int]], AbstractContextManager[object]]


def nightly(system: BenchmarkSystem) -> Json:
    with system.open_parts(TODAY) as parts:
        accounts = system.add_accounts(parts)
        seed(system, parts, accounts)
    with MeasuresReceiver() as receiver:
        if system.args.webhook:
            with system.open_parts(TODAY) as parts:
                receiver.set_up(parts)
        days = {"unchanged": TODAY, "one new day": next_day(TODAY)}
        nights = {name: night(system, day, accounts) for name, day in days.items()}
    for day, measured in zip((next_day(TODAY), next_day(next_day(TODAY))), nights.values(), strict=True):
        measured["processor_ms"]["own work"] = own_work_ms(system, day, accounts)
    return nights


def own_work_ms(system: BenchmarkSystem, today: date, accounts: list[str]) -> float:
    """Return what a window of ``today`` costs this process without the queue."""
    system.call_simulator("POST", "clock", {"now": morning(today)})
    with system.open_parts(today) as parts:
        jobs = [
            parts.sync.claims.manual_look_back(account_id, series) for account_id in accounts for series in USUAL_SERIES
        ]
        parts.sync.window.sync_window(jobs.pop())  # It opens the connections.
        used_s = process_time()
        for job in jobs:
            system.deadline.check("the own work of windows")
            parts.sync.window.sync_window(job)
        return round(1000 * (process_time() - used_s) / len(jobs), 1)


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
        system.open_parts(today) as parts,
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
        floor = system.measure(
            parts,
            lambda: system.send_task("benchmarks.publish_chains", windows),
            lambda: len(system.step_waits_s(pids)) == len(waits_s) + 3 * windows,
        )
    window_ms, floor_ms = (1000 * part["cpu_seconds"]["workers"] / windows for part in (measured, floor))
    return {
        "accounts_per_second": round(len(accounts) / measured["seconds"], 1),
        "windows": windows,
        "windows_per_second": round(windows / measured["seconds"], 1),
        "new_documents": new,
        "step_wait_p95_s": round(waits_s[int(0.95 * len(waits_s))], 2),
        "processor_ms": {"window": round(window_ms, 1), "floor": round(floor_ms, 1)},
        "times_the_floor": round(window_ms / floor_ms, 2),
        **measured,
    }


if __name__ == "__main__":
    args = parse_options(__doc__, accounts=200)
    sys.exit(run("nightly", args, nightly))
