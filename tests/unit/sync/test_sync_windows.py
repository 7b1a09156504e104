"""Many windows at once: each has the same result as alone, whatever happens to the others."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import (
    NOW,
    MemoryRecorder,
    PretendAccounts,
    PretendSupplier,
    content,
    curve_of,
    serving_curves,
    window_job,
)
from tests.support.factories import serving_days as serving
from tests.support.fakes import MemoryStore, clear_hooks, crash_at_write, interrupt, memory_measures
from tests.support.strategies import several
from tests.support.window_runs import days, truth_of_days, window_over
from worker.domain.consent.accounts import Account
from worker.domain.measures.messages import WindowJob, WindowResult
from worker.domain.measures.readings import ONE_DAY, DateWindow, Period, Series
from worker.errors import (
    ConsentRevoked,
    StoreUnavailable,
    SupplierUnavailable,
    UnknownAccount,
    WorkerError,
    WriteRefused,
)
from worker.stores.measures.base import Document, Measures
from worker.stores.measures.packed import PackedMeasures
from worker.sync.window import SupplierClient, WindowSync

HOMES = ("home1", "home10", "home2", "home3")
FIRST = date(2024, 1, 29)
MAY = days("2024-05-09", 9000, 8000, 7000)
LATER = {**MAY, date(2024, 5, 10): 8640, date(2024, 5, 12): 5500}


@dataclass
class SyncedAccounts:
    """Accounts with a supplier each and common measures; ``stores`` are the stores below the measures."""

    measures: Measures
    stores: Sequence[MemoryStore]
    suppliers: dict[str, PretendSupplier] = field(default_factory=dict)
    accounts: PretendAccounts = field(default_factory=PretendAccounts)
    recorder: MemoryRecorder = field(default_factory=MemoryRecorder)

    @property
    def window_sync(self) -> WindowSync:
        return WindowSync(
            accounts=self.accounts,
            supplier_of=self._supplier,
            measures=self.measures,
            recorder=self.recorder,
            now=lambda: NOW + timedelta(hours=1),
        )

    def _supplier(self, account: Account) -> SupplierClient:
        return self.suppliers[account.id]

    def set_days(self, values: Mapping[date, Any], *homes: str) -> None:
        """Let the suppliers of these accounts answer with these daily values."""
        for home in homes:
            self.suppliers[home] = PretendSupplier(daily=serving(values))

    def requests(self) -> int:
        return sum(store.requests for store in self.stores)


def plain_fleet() -> SyncedAccounts:
    measures = memory_measures()
    return SyncedAccounts(measures, list(measures.values()))


def packed_fleet() -> SyncedAccounts:
    packs = {series: MemoryStore() for series in Series}
    return SyncedAccounts(PackedMeasures(packs), list(packs.values()))


@pytest.fixture(params=[plain_fleet, packed_fleet], ids=["plain", "packed"])
def fleet(request: pytest.FixtureRequest) -> SyncedAccounts:
    fleet: SyncedAccounts = request.param()
    return fleet


def daily(values: Mapping[date, Any], *homes: str) -> list[WindowJob]:
    return [window_job(window_over(dict(values)), Series.DAILY, home) for home in homes]


def one_after_the_other(window_sync: WindowSync, jobs: Sequence[WindowJob]) -> list[WindowResult | WorkerError]:
    outcomes: list[WindowResult | WorkerError] = []
    for job in jobs:
        try:
            outcomes.append(window_sync.sync_window(job))
        except WorkerError as error:
            outcomes.append(error)
    return outcomes


def comparable(outcomes: Sequence[WindowResult | WorkerError]) -> list[Any]:
    return [repr(outcome) if isinstance(outcome, WorkerError) else outcome for outcome in outcomes]


def corrections(fleet: SyncedAccounts) -> list[tuple[str, int, int | None]]:
    """Return the corrections without revisions, which are random texts in packs."""
    return sorted(
        (entry.key, entry.milliwatt_hours, entry.replaced_milliwatt_hours) for entry in fleet.recorder.corrections
    )


home_days = st.dictionaries(st.integers(0, 5), st.sampled_from([0, 5000, 5001, "-1", None]), max_size=4)
windows = st.tuples(st.sampled_from(HOMES), st.sampled_from(Series), st.integers(0, 4), st.integers(1, 4))
failures = st.dictionaries(st.sampled_from(HOMES), st.sampled_from([SupplierUnavailable, ConsentRevoked]), max_size=2)


@several
@given(
    st.sampled_from([plain_fleet, packed_fleet]),
    st.fixed_dictionaries(dict.fromkeys(HOMES, home_days)),
    st.fixed_dictionaries(dict.fromkeys(HOMES, home_days)),
    failures,
    st.sets(st.sampled_from(HOMES), max_size=1),
    st.lists(windows, max_size=8),
)
def test_many_windows_together_are_what_they_are_one_after_the_other(  # type: ignore[no-untyped-def]
    make_fleet, before, after, failing, removed, asked
) -> None:
    jobs = [
        window_job(DateWindow(FIRST + first * ONE_DAY, FIRST + (first + length) * ONE_DAY), series, home)
        for home, series, first, length in asked
    ]
    whole = DateWindow(FIRST, FIRST + 6 * ONE_DAY)
    together, alone = make_fleet(), make_fleet()
    for fleet in (together, alone):
        for days_by_home in (before, after):
            for home, values in days_by_home.items():
                served = {FIRST + number * ONE_DAY: value for number, value in values.items()}
                curves = {day: curve_of(day, int(value or 0)) for day, value in served.items() if value != "-1"}
                fleet.suppliers[home] = PretendSupplier(daily=serving(served), curve=serving_curves(curves))
            if days_by_home is before:
                one_after_the_other(
                    fleet.window_sync, [window_job(whole, series, home) for home in HOMES for series in Series]
                )
        for home, error in failing.items():
            fleet.suppliers[home] = PretendSupplier(daily=error("no"), curve=error("no"))
        fleet.accounts.removed |= removed
        fleet.recorder = MemoryRecorder()
    expected = one_after_the_other(alone.window_sync, jobs)
    outcomes = together.window_sync.sync_windows(jobs)
    assert comparable(outcomes) == comparable(expected)
    assert [content(together.measures, home) for home in HOMES] == [content(alone.measures, home) for home in HOMES]
    assert sorted(map(repr, together.recorder.results)) == sorted(map(repr, alone.recorder.results))
    assert corrections(together) == corrections(alone)
    stored = [copy.deepcopy(store.documents) for store in together.stores]
    repeated = [outcome for outcome in together.window_sync.sync_windows(jobs) if not isinstance(outcome, WorkerError)]
    assert all(result["created"] == result["updated"] == 0 for result in repeated)
    assert [store.documents for store in together.stores] == stored


def test_no_window_at_all_is_nothing_to_do(fleet: SyncedAccounts) -> None:
    assert fleet.window_sync.sync_windows([]) == []
    assert fleet.requests() == 0


def test_many_unchanged_packed_windows_are_one_request_and_changed_ones_three() -> None:
    fleet = packed_fleet()
    homes = [f"home{number}" for number in range(50)]
    fleet.set_days(MAY, *homes)
    for changed, most in ((True, 2), (False, 1)):
        before = fleet.requests()
        results = fleet.window_sync.sync_windows(daily(MAY, *homes))
        assert [bool(result["created"]) for result in results] == [changed] * 50  # type: ignore[index]
        assert fleet.requests() - before == most
    before = fleet.requests()
    fleet.set_days(LATER, *homes)
    fleet.window_sync.sync_windows(daily(LATER, *homes))
    assert fleet.requests() - before == 3
    assert all(content(fleet.measures, home) == truth_of_days(LATER) for home in homes)


def test_more_than_five_hundred_documents_go_in_more_than_one_request(fleet: SyncedAccounts) -> None:
    homes = [f"home{number}" for number in range(501 if isinstance(fleet.measures, PackedMeasures) else 101)]
    values = days("2024-05-09", *range(1000, 1005))
    fleet.set_days(values, *homes)
    results = fleet.window_sync.sync_windows(daily(values, *homes))
    assert {result["created"] for result in results} == {7}  # type: ignore[index]
    assert all(content(fleet.measures, home) == truth_of_days(values) for home in homes)
    if isinstance(fleet.measures, PackedMeasures):
        assert fleet.requests() - len(homes) * 5 == 2 + 2  # Without the requests of ``content``.
    else:
        assert fleet.measures[Period.DAY].requests - len(homes) * 2 == 2  # type: ignore[attr-defined]


def test_one_home_whose_supplier_fails_stops_no_other(fleet: SyncedAccounts) -> None:
    fleet.set_days(MAY, *HOMES)
    fleet.suppliers["home2"] = PretendSupplier(daily=SupplierUnavailable("down"))
    outcomes = fleet.window_sync.sync_windows(daily(MAY, *HOMES))
    assert [type(outcome).__name__ for outcome in outcomes] == ["dict", "dict", "SupplierUnavailable", "dict"]
    assert [result["account_id"] for result in fleet.recorder.results] == ["home1", "home10", "home3"]
    assert content(fleet.measures, "home2") == {period: {} for period in Period}


def test_what_the_store_refuses_of_one_home_stops_no_other(fleet: SyncedAccounts) -> None:
    def refuse(documents: Sequence[Document]) -> None:
        if any(document["_id"].startswith("home2:") for document in documents):
            raise WriteRefused("not this one")

    for store in fleet.stores:
        store.before_write = refuse
    fleet.set_days(MAY, *HOMES)
    outcomes = fleet.window_sync.sync_windows(daily(MAY, *HOMES))
    assert [type(outcome).__name__ for outcome in outcomes] == ["dict", "dict", "WriteRefused", "dict"]
    for home in ("home1", "home10", "home3"):
        assert content(fleet.measures, home) == truth_of_days(MAY)


def test_a_damaged_pack_of_one_home_stops_no_other() -> None:
    fleet = packed_fleet()
    fleet.set_days(MAY, *HOMES)
    fleet.window_sync.sync_windows(daily(MAY, *HOMES))
    [damaged] = [document for store in fleet.stores for name, document in store.documents.items() if "home2:" in name]
    damaged["format"] = 99
    fleet.set_days(LATER, *HOMES)
    outcomes = fleet.window_sync.sync_windows(daily(LATER, *HOMES))
    assert [isinstance(outcome, StoreUnavailable) for outcome in outcomes] == [False, False, True, False]
    assert all(content(fleet.measures, home) == truth_of_days(LATER) for home in ("home1", "home10", "home3"))


def test_a_store_that_fails_between_readings_and_totals_is_tried_window_by_window() -> None:
    fleet = plain_fleet()
    failed = False

    def fail_once(documents: Sequence[Document]) -> None:
        nonlocal failed
        if not failed:
            failed = True
            raise StoreUnavailable("a moment")

    fleet.measures[Period.MONTH].before_write = fail_once  # type: ignore[attr-defined]
    fleet.set_days(MAY, *HOMES)
    outcomes = fleet.window_sync.sync_windows(daily(MAY, *HOMES))
    assert not any(isinstance(outcome, WorkerError) for outcome in outcomes)
    assert all(content(fleet.measures, home) == truth_of_days(MAY) for home in HOMES)


def test_one_account_s_windows_come_one_after_the_other_each_seeing_what_the_one_before_stored(
    fleet: SyncedAccounts,
) -> None:
    fleet.set_days(MAY, "home1", "home2")
    first, second = days("2024-05-09", 0), days("2024-05-10", 0, 0)
    asked = daily(first, "home1") + daily(second, "home1") + daily(MAY, "home2") + daily(MAY, "home1")
    results = fleet.window_sync.sync_windows(asked)
    assert [(result["created"], result["updated"]) for result in results] == [(3, 0), (2, 2), (5, 0), (0, 0)]  # type: ignore[index]
    assert content(fleet.measures, "home1") == truth_of_days(MAY)


@pytest.mark.parametrize("number", range(1, 10))
@pytest.mark.parametrize("rivals", [{date(2024, 5, 11): 5500}, {date(2024, 5, 30): 1}, {date(2023, 12, 31): 5500}])
def test_another_writer_at_any_touch_loses_nothing_and_takes_nothing(
    fleet: SyncedAccounts, rivals: dict[date, int], number: int
) -> None:
    mine = {date(2024, 5, 9): 9001}
    fleet.set_days(MAY, *HOMES)
    fleet.window_sync.sync_windows(daily(MAY, *HOMES))
    fleet.set_days({**MAY, **mine}, *HOMES)
    rival = SyncedAccounts(fleet.measures, fleet.stores)
    rival.set_days(rivals, "home10")
    interrupt(fleet.stores, number, lambda: rival.window_sync.sync_window(*daily(rivals, "home10")))
    fleet.window_sync.sync_windows(daily(mine, *HOMES))
    clear_hooks(fleet.stores)
    rival.window_sync.sync_window(*daily(rivals, "home10"))
    for home in HOMES:
        truth = {**MAY, **mine, **(rivals if home == "home10" else {})}
        assert content(fleet.measures, home) == truth_of_days(truth)


@pytest.mark.parametrize("number", range(1, 10))
def test_an_account_removed_between_any_two_touches_leaves_nothing_behind_and_the_others_are_kept(
    fleet: SyncedAccounts, number: int
) -> None:
    fleet.set_days(MAY, *HOMES)

    def remove() -> None:
        fleet.accounts.removed.add("home10")
        for store in fleet.measures.values():
            store.erase("home10")

    interrupt(fleet.stores, number, remove)
    outcomes = fleet.window_sync.sync_windows(daily(MAY, *HOMES))
    clear_hooks(fleet.stores)
    if fleet.accounts.removed:
        assert isinstance(outcomes[1], UnknownAccount)
        assert not any(name.startswith("home10:") for store in fleet.stores for name in store.documents)
    for home in ("home1", "home2", "home3"):
        assert content(fleet.measures, home) == truth_of_days(MAY)


class Killed(BaseException):
    """The death of the worker; nothing in the code under test may catch it."""


@pytest.mark.parametrize("written_before", [0, 1, 10**6])
@pytest.mark.parametrize("number", range(1, 4))
def test_a_worker_killed_at_any_write_leaves_what_a_repeat_makes_whole(
    fleet: SyncedAccounts, number: int, written_before: int
) -> None:
    fleet.set_days(MAY, *HOMES)
    fleet.window_sync.sync_windows(daily(MAY, *HOMES))
    fleet.set_days(LATER, *HOMES)
    crash_at_write(fleet.stores, number, written_before, Killed)
    with suppress(Killed):
        fleet.window_sync.sync_windows(daily(LATER, *HOMES))
    clear_hooks(fleet.stores)
    fleet.window_sync.sync_windows(daily(LATER, *HOMES))
    assert all(content(fleet.measures, home) == truth_of_days(LATER) for home in HOMES)
    unchanged = fleet.window_sync.sync_windows(daily(LATER, *HOMES))
    assert [(result["created"], result["updated"]) for result in unchanged] == [(0, 0)] * len(HOMES)  # type: ignore[index]


def test_what_is_corrected_is_noted_before_it_is_written(fleet: SyncedAccounts) -> None:
    fleet.set_days(MAY, *HOMES)
    fleet.window_sync.sync_windows(daily(MAY, *HOMES))
    noted_at_writing: list[int] = []
    for store in fleet.stores:
        store.before_write = lambda _: noted_at_writing.append(len(fleet.recorder.corrections))
    fleet.set_days(LATER, *HOMES)
    fleet.window_sync.sync_windows(daily(LATER, *HOMES))
    assert set(noted_at_writing) == {len(HOMES)}
    assert {
        (entry.key, entry.replaced_milliwatt_hours, entry.milliwatt_hours) for entry in fleet.recorder.corrections
    } == {("2024-05-10", 8_000_000, 8_640_000)}
