"""Whether it helps to write many accounts' windows together: a new day, and an unchanged night, in both ways.

So many accounts with this year's daily values and a week of load curve, on each store and in both layouts, through the
walk alone (answers lie ready, no registry and no Redis).  Each night's windows of both series are brought up to date
either one after the other or together, nights taking turns, and then once more with nothing new.  Seconds by the clock
and milliseconds of the processor, ours and the store's, per account.
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

from common import STORES, TODAY, Deadline, Json, TooLong, databases, machine

from benchmarks import processes
from tests.support import servers
from tests.support.factories import PretendSupplier, curve_of, make_walk, origin, serving_curves, serving_days
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
class Spent:
    """Of each night, over all accounts."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)

    def per_account(self, accounts: int) -> Json:
        """By the clock the median, of the processor the mean: the system tells that in steps of 10 ms."""
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
        result["stores"][store] = told = {}
        for layout in Layout:
            print(f"together: {store}, {layout.value} …", file=sys.stderr)
            try:
                told[layout.value] = measure(store, layout, args.accounts, args.rounds, deadline)
            except servers.NotInstalled as missing:
                told["skipped"] = str(missing)
            except TooLong as late:
                told["error"] = str(late)
    result["load_after"] = round(os.getloadavg()[0], 2)
    print(json.dumps(result, indent=1))
    return 1 if any("error" in told for told in result["stores"].values()) else 0


def measure(store: str, layout: Layout, accounts: int, rounds: int, deadline: Deadline) -> Json:
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="releve-benchmark-")))
        before = processes.children()
        url, _ = opened.enter_context(databases(store, folder))
        pids = sorted(processes.children() - before)
        today = [TODAY]
        walk = make_walk(
            supplier(),
            open_measures(url, layout=layout),
            now=lambda: datetime(*today[0].timetuple()[:3], 9, tzinfo=PARIS),
        )
        homes = [f"k9xgwnz{number:05}" for number in range(accounts)]
        seed(walk, homes)
        spent = {kind: {way: Spent() for way in WAYS} for kind in KINDS}
        for way in _TURNS * rounds:
            today[0] += ONE_DAY
            for kind in KINDS:
                deadline.check("the nights")
                windows = [
                    [origin(plan_look_back(today[0], series), series, home) for home in homes] for series in Series
                ]
                created = timed(spent[kind][way], pids, lambda windows=windows, way=way: sync(walk, windows, way))
                if bool(created) is not (kind == NEW_DAY):
                    raise RuntimeError(f"{created} documents were new: {kind}")
    return {kind: {way: spent[kind][way].per_account(accounts) for way in WAYS} for kind in KINDS}


def supplier() -> PretendSupplier:
    """The same home for all; each answer is made once."""
    days = [FIRST_DAY + number * ONE_DAY for number in range((TODAY - FIRST_DAY).days + 100)]
    daily, curves = serving_days(dict.fromkeys(days, 9_876)), serving_curves({day: curve_of(day, 300) for day in days})
    return PretendSupplier(daily=lru_cache(daily), curve=lru_cache(curves))


def seed(walk: WindowSync, homes: Sequence[str]) -> None:
    for series, days in ((Series.DAILY, (TODAY - FIRST_DAY).days), (Series.LOAD_CURVE, 7)):
        window = DateWindow(TODAY - timedelta(days=days), TODAY)
        sync(walk, [[origin(window, series, home) for home in homes]], TOGETHER)


def sync(walk: WindowSync, windows: Sequence[Sequence[WindowJob]], way: str) -> int:
    """Documents created."""
    created = 0
    for some in windows:
        outcomes = walk.sync_windows(some) if way == TOGETHER else [walk.sync_window(each) for each in some]
        for outcome in outcomes:
            if isinstance(outcome, WorkerError):
                raise outcome
            created += outcome["created"]
    return created


def timed(spent: Spent, pids: list[int], work: Callable[[], int]) -> int:
    before, used, began = processes.cpu_s(pids), time.process_time(), time.perf_counter()
    done = work()
    spent.seconds.append(time.perf_counter() - began)
    spent.cpu_seconds.append(time.process_time() - used + processes.cpu_s(pids) - before)
    return done


if __name__ == "__main__":
    sys.exit(main())
