"""How many accounts a second a nightly run brings up to date, for each store.

Each account has a year of daily values and a week of load curve already.  Two nights follow, each from the
message that beat would send until the last window is done: one that finds nothing new, and one a day later.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from datetime import date, timedelta

from common import TODAY, House, Json, morning, next_day, options, run, stored_documents

from worker.domain.measures.readings import DateWindow, Series
from worker.runtime.process import Runtime
from worker.sync.due import Night

HISTORY_DAYS = {Series.DAILY: 365, Series.LOAD_CURVE: 7}
Watch = Callable[[list[int]], AbstractContextManager[object]]  # is given the workers' pids during a night


def nightly(house: House) -> Json:
    with house.inside(TODAY) as runtime:
        accounts = house.add_accounts(runtime)
        seed(house, runtime, accounts)
    return {
        "unchanged": night(house, TODAY, accounts),
        "one new day": night(house, next_day(TODAY), accounts),
    }


def seed(house: House, runtime: Runtime, accounts: list[str]) -> None:
    """The history by the same walk, without the queue."""

    def walk(account_id: str) -> None:
        house.deadline.check("the seeding")
        for series, days in HISTORY_DAYS.items():
            window = DateWindow(TODAY - timedelta(days=days), TODAY)
            runtime.walk.sync_window(runtime.dispatcher.window_by_hand(account_id, series, window))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(walk, accounts))


def night(house: House, today: date, accounts: list[str], watch: Watch = lambda pids: nullcontext()) -> Json:
    """One night at ``today``, by workers that were just started and are idle."""
    house.admin("POST", "clock", {"now": morning(today)})
    run_name = Night(today).run
    with house.inside(today) as runtime, house.workers(today) as pids, watch(pids):
        documents = stored_documents(runtime, accounts)
        measured = house.measured(
            runtime,
            lambda: house.send("tasks.schedule.nightly_sync", today.isoformat()),
            lambda: not any(_undone(runtime, run_name)),
        )
        new = stored_documents(runtime, accounts) - documents
    windows = len(Series) * len(accounts)
    return {
        "accounts_per_second": round(len(accounts) / measured["seconds"], 1),
        "windows": windows,
        "windows_per_second": round(windows / measured["seconds"], 1),
        "new_documents": new,
        **measured,
    }


def _undone(runtime: Runtime, run_name: str) -> Iterator[object]:
    for page in runtime.dispatcher.pages_after(None):
        yield from runtime.dispatcher.due_look_backs(page, run_name)


if __name__ == "__main__":
    args = options(__doc__, accounts=200)
    sys.exit(run("nightly", args, nightly))
