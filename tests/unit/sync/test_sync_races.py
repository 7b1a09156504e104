"""Two workers at once, with calls to the store in any order: nothing lost, nothing doubled."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import (
    NOW,
    PretendAccounts,
    PretendSupplier,
    content,
    make_window_sync,
    memory_measures,
    serving_curves,
    serving_days,
    window_job,
)
from tests.support.fakes import clear_hooks, interrupt
from tests.support.interleaving import Turns
from tests.support.strategies import many, several
from tests.support.window_runs import (
    CURVE,
    FIRST_RUN,
    RUNS,
    RUNS_WITHOUT_TOTALS,
    days,
    sync_days,
    truth_of_days,
    window_over,
)
from worker.domain.series import USUAL_SERIES, Doctype, Series
from worker.errors import StoreUnavailable, UnknownAccount
from worker.stores.measures.measure_store import Document

ALL_RUNS = {**RUNS, **RUNS_WITHOUT_TOTALS}


@pytest.mark.parametrize("series", ALL_RUNS)
def test_the_same_window_twice_at_once_gives_the_same_store(series: str) -> None:
    first, second = ALL_RUNS[series]
    expected = memory_measures()
    first(expected)
    second(expected)
    for number in range(1, 8):
        stores = memory_measures()
        first(stores)
        interrupt(stores.values(), number, lambda stores=stores: second(stores))
        second(stores)
        clear_hooks(stores.values())
        assert content(stores) == content(expected)


@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize(
    "mine, rivals",
    [
        ({date(2024, 1, 10): 6000}, {date(2024, 1, 20): 5500}),
        ({date(2024, 1, 10): 6000}, {date(2024, 1, 20): 4000}),  # The rival's month has the same total as before.
        ({date(2024, 1, 10): 6000}, {date(2024, 1, 25): 0}),
        ({date(2024, 1, 10): 6000}, {date(2024, 2, 20): 5500}),
        ({date(2024, 1, 31): 6000}, {date(2023, 12, 31): 5500}),
    ],
)
def test_two_workers_with_other_days_of_one_month_lose_nothing(
    mine: dict[date, int], rivals: dict[date, int], number: int
) -> None:
    stored = {date(2024, 1, 10): 5000, date(2024, 1, 20): 5000}
    stores = memory_measures()
    sync_days(stores, stored)
    interrupt(stores.values(), number, lambda: sync_days(stores, rivals))
    sync_days(stores, mine)
    clear_hooks(stores.values())
    if number > 6:
        sync_days(stores, rivals)
    assert content(stores) == truth_of_days({**stored, **rivals, **mine})


def test_a_rival_at_every_write_is_outlasted_or_called_a_fault_of_the_store() -> None:
    stores, wins = memory_measures(), 0
    store, mine = stores[Doctype.DAY], {date(2024, 1, 10): 5000}

    def rival(documents: Sequence[Document]) -> None:
        nonlocal wins
        wins += 1
        store.before_write = None
        sync_days(stores, {date(2024, 1, 10): wins})
        store.before_write = rival

    store.before_write = rival
    with pytest.raises(StoreUnavailable, match="try again"):
        sync_days(stores, mine)
    store.before_write = None
    assert content(stores) == truth_of_days({date(2024, 1, 10): wins})
    sync_days(stores, mine)
    assert content(stores) == truth_of_days(mine)


schedules = st.lists(st.integers(0, 1), min_size=16, max_size=40)
BEFORE = days("2023-12-30", 1, 1, 1, 1)
changes = st.dictionaries(st.sampled_from([*BEFORE]), st.integers(0, 2), min_size=1, max_size=2)


@many
@given(changes, changes, schedules)
def test_two_workers_in_any_interleaving_leave_totals_that_agree_with_their_days(mine, rivals, schedule) -> None:  # type: ignore[no-untyped-def]
    """Small changes to few days often cancel out, which is the case in which a race could hide."""
    stores = memory_measures()
    sync_days(stores, BEFORE)
    latest = {**rivals, **mine}  # The same supplier answers both.
    workers = [lambda: sync_days(stores, mine), lambda: sync_days(stores, {day: latest[day] for day in rivals})]
    Turns(schedule).run(stores, workers)
    assert content(stores) == truth_of_days({**BEFORE, **latest})


@several
@given(schedules, st.sampled_from(sorted(ALL_RUNS)))
def test_the_same_window_in_any_interleaving_gives_the_store_of_one_worker(schedule: list[int], series: str) -> None:
    first, second = ALL_RUNS[series]
    expected, stores = memory_measures(), memory_measures()
    for stored in (expected, stores):
        first(stored)
    second(expected)
    results = Turns(schedule).run(stores, [lambda: second(stores), lambda: second(stores)])
    assert content(stores) == content(expected)
    assert all(len(stores[period].documents) == len(expected[period].documents) for period in Doctype)
    assert results[0]["created"] + results[1]["created"] <= 3


@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize("series", USUAL_SERIES)
def test_an_account_removed_between_any_two_writes_leaves_nothing_behind(series: Series, number: int) -> None:
    supplier = PretendSupplier(daily=serving_days(FIRST_RUN), curve=serving_curves(CURVE))
    accounts, stores = PretendAccounts(), memory_measures()
    asked = window_job(window_over(FIRST_RUN if series is Series.DAILY else CURVE), series)

    def remove() -> None:
        accounts.removed.add("home1")
        for store in stores.values():
            store.erase("home1")

    touched = interrupt(stores.values(), number, remove)
    try:
        make_window_sync(supplier, stores, accounts).sync_window(asked)
    except UnknownAccount:
        assert "home1" in accounts.removed
    assert bool(accounts.removed) is (touched() >= number)
    assert not accounts.removed or not any(store.documents for store in stores.values())


def test_a_message_that_comes_late_does_not_undo_a_correction() -> None:
    day, stores = date(2024, 5, 10), memory_measures()
    window = window_over({day: 0})
    asked_early = window_job(window, Series.DAILY)
    clock = [NOW]
    early_worker = make_window_sync(PretendSupplier(daily=serving_days({day: 8000})), stores, now=lambda: clock[0])
    late_message = early_worker.aggregate(early_worker.filter_known(early_worker.fetch(asked_early)))

    an_hour_later = make_window_sync(
        PretendSupplier(daily=serving_days({day: 8640})), stores, now=lambda: NOW + timedelta(hours=1)
    )
    an_hour_later.sync_window(window_job(window, Series.DAILY))
    corrected = content(stores)
    clock[0] += timedelta(hours=2)
    early_worker.store(late_message)
    assert content(stores) == corrected


def test_a_stamp_from_a_clock_that_is_set_wrong_holds_up_no_correction() -> None:
    day, stores = date(2024, 5, 10), memory_measures()
    # The first worker's clock was an hour ahead.
    for at, watt_hours in ((NOW + timedelta(hours=1), 8000), (NOW, 8640)):
        window_sync = make_window_sync(
            PretendSupplier(daily=serving_days({day: watt_hours})), stores, now=lambda at=at: at
        )
        window_sync.sync_window(window_job(window_over({day: 0}), Series.DAILY))
    assert content(stores) == truth_of_days({day: 8640})
