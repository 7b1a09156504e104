"""Benchmark of syncing many accounts' windows one by one or together, for a new day and for an unchanged night.

The accounts have this year's daily values and a week of load curve, on each store and in both layouts.  Only the
window sync runs: answers are ready, and there is no registry and no Redis.  Each night's windows of both series are
brought up to date either one after the other or together, in alternating nights, and then once more without anything
new.  The figures are milliseconds per account by the clock and of the processor, ours and the store's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Final

from common import STORES, TODAY, Deadline, DeadlinePassed, Json, databases, machine

from benchmarks import processes
from tests.support import servers
from tests.support.factories import (
    PretendSupplier,
    curve_of,
    make_window_sync,
    serving_curves,
    serving_days,
    window_job,
)
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import ONE_DAY, PARIS, DateWindow, Series
from worker.domain.measures.windows import plan_look_back
from worker.errors import WorkerError
from worker.stores.measures.base import Layout
from worker.stores.measures.factory import open_measures
from worker.sync.window import WindowSync

FIRST_DAY: Final = date(TODAY.year, 1, 1)
SEPARATE, TOGETHER = WAYS = ("separate", "together")
NEW_DAY, UNCHANGED = KINDS = ("new day", "unchanged")
_TURNS: Final = (SEPARATE, TOGETHER, TOGETHER, SEPARATE)


@dataclass
class Costs:
    """Seconds of each night, over all accounts."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def per_account(self, accounts: int) -> Json:
        """Return the median by the clock and the mean of the processor, which the system counts in steps of 10 ms."""
        return {
            "ms": round(1000 * statistics.median(self.seconds) / accounts, 2),
            "cpu_ms": round(1000 * statistics.mean(self.cpu_seconds) / accounts, 2),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--accounts", type=int, default=100, help="how many (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=2, help="of four nights, two in each way (default %(default)s)")
    parser.add_argument("--stores", default=",".join(STORES), help="which, with commas (default %(default)s)")
    parser.add_argument("--max-seconds", type=float, default=600, help="give up after (default %(default)s)")
    args = parser.parse_args()
    result: Json = {"benchmark": "together", "machine": machine(), "settings": vars(args), "stores": {}}
    deadline = Deadline(args.max_seconds)
    for store in args.stores.split(","):
        result["stores"][store] = layouts = {}
        for layout in Layout:
            print(f"together: {store}, {layout.value} …", file=sys.stderr)
            try:
                layouts[layout.value] = measure(store, layout, args.accounts, args.rounds, deadline)
            except servers.NotInstalled as missing:
                layouts["skipped"] = str(missing)
            except DeadlinePassed as error:
                layouts["error"] = str(error)
    result["load_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(result, indent=1))
    return 1 if any("error" in layouts for layouts in result["stores"].values()) else 0


def measure(store: str, layout: Layout, accounts: int, rounds: int, deadline: Deadline) -> Json:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="releve-benchmark-")))
        before = processes.children()
        url, _ = opened.enter_context(databases(store, folder))
        pids = sorted(processes.children() - before)
        today = [TODAY]
        window_sync = make_window_sync(
            supplier(),
            open_measures(url, layout=layout),
            now=lambda: datetime(*today[0].timetuple()[:3], 9, tzinfo=PARIS),
        )
        homes = [f"k9xgwnz{number:05}" for number in range(accounts)]
        seed(window_sync, homes)
        costs = {kind: {way: Costs() for way in WAYS} for kind in KINDS}
        for way in _TURNS * rounds:
            today[0] += ONE_DAY
            for kind in KINDS:
                deadline.check("the nights")
                windows = [
                    [window_job(plan_look_back(today[0], series), series, home) for home in homes] for series in Series
                ]
                created = timed(
                    costs[kind][way], pids, lambda windows=windows, way=way: sync(window_sync, windows, way)
                )
                if bool(created) is not (kind == NEW_DAY):
                    raise RuntimeError(f"{created} documents were new: {kind}")
    return {kind: {way: costs[kind][way].per_account(accounts) for way in WAYS} for kind in KINDS}


def supplier() -> PretendSupplier:
    """Return a supplier with the same home for all accounts; each answer is made once."""
    days = [FIRST_DAY + number * ONE_DAY for number in range((TODAY - FIRST_DAY).days + 100)]
    daily, curves = serving_days(dict.fromkeys(days, 9_876)), serving_curves({day: curve_of(day, 300) for day in days})
    return PretendSupplier(daily=lru_cache(daily), curve=lru_cache(curves))


def seed(window_sync: WindowSync, homes: Sequence[str]) -> None:
    for series, days in ((Series.DAILY, (TODAY - FIRST_DAY).days), (Series.LOAD_CURVE, 7)):
        window = DateWindow(TODAY - timedelta(days=days), TODAY)
        sync(window_sync, [[window_job(window, series, home) for home in homes]], TOGETHER)


def sync(window_sync: WindowSync, windows: Sequence[Sequence[WindowJob]], way: str) -> int:
    """Sync the windows and return the number of created documents."""
    created = 0
    for jobs in windows:
        outcomes = window_sync.sync_windows(jobs) if way == TOGETHER else [window_sync.sync_window(job) for job in jobs]
        for outcome in outcomes:
            if isinstance(outcome, WorkerError):
                raise outcome
            created += outcome["created"]
    return created


def timed(costs: Costs, pids: list[int], work: Callable[[], int]) -> int:
    cpu_before, own_cpu_before, started_at = processes.cpu_s(pids), time.process_time(), time.perf_counter()
    created = work()
    costs.seconds.append(time.perf_counter() - started_at)
    costs.cpu_seconds.append(time.process_time() - own_cpu_before + processes.cpu_s(pids) - cpu_before)
    return created


if __name__ == "__main__":
    sys.exit(main())
