"""Many windows at once: each fares as it would alone, whatever becomes of the others."""

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
    PretendAccounts,
    PretendSupplier,
    Reports,
    content,
    curve_of,
    origin,
    serving_curves,
)
from tests.support.factories import serving_days as serving
from tests.support.fakes import MemoryStore, die_at, interrupt, let_be, memory_measures
from tests.support.strategies import some
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
class Town:
    """A supplier a home, one store for all; ``touches`` are the stores below the measures."""

    measures: Measures
    touches: Sequence[MemoryStore]
    suppliers: dict[str, PretendSupplier] = field(default_factory=dict)
    accounts: PretendAccounts = field(default_factory=PretendAccounts)
    progress: Reports = field(default_factory=Reports)

    @property
    def walk(self) -> WindowSync:
        return WindowSync(self.accounts, self._supplier, self.measures, self.progress, lambda: NOW + timedelta(hours=1))

    def _supplier(self, account: Account) -> SupplierClient:
        return self.suppliers[account.id]

    def tell(self, values: Mapping[date, Any], *homes: str) -> None:
        """The supplier has these days of daily values now."""
        for home in homes:
            self.suppliers[home] = PretendSupplier(daily=serving(values))

    def requests(self) -> int:
        return sum(store.requests for store in self.touches)


def plain_town() -> Town:
    measures = memory_measures()
    return Town(measures, list(measures.values()))


def packed_town() -> Town:
    packs = {series: MemoryStore() for series in Series}
    return Town(PackedMeasures(packs), list(packs.values()))


@pytest.fixture(params=[plain_town, packed_town], ids=["plain", "packed"])
def town(request: pytest.FixtureRequest) -> Town:
    made: Town = request.param()
    return made


def daily(values: Mapping[date, Any], *homes: str) -> list[WindowJob]:
    return [origin(window_over(dict(values)), Series.DAILY, home) for home in homes]


def one_after_the_other(walk: WindowSync, origins: Sequence[WindowJob]) -> list[WindowResult | WorkerError]:
    outcomes: list[WindowResult | WorkerError] = []
    for each in origins:
        try:
            outcomes.append(walk.sync_window(each))
        except WorkerError as error:
            outcomes.append(error)
    return outcomes


def in_words(outcomes: Sequence[WindowResult | WorkerError]) -> list[Any]:
    return [repr(outcome) if isinstance(outcome, WorkerError) else outcome for outcome in outcomes]


def corrections(town: Town) -> list[tuple[str, int, int | None]]:
    """Without revisions: packs draw a text of their own."""
    return sorted((entry.key, entry.milliwatt_hours, entry.was) for entry in town.progress.corrected)


home_days = st.dictionaries(st.integers(0, 5), st.sampled_from([0, 5000, 5001, "-1", None]), max_size=4)
windows = st.tuples(st.sampled_from(HOMES), st.sampled_from(Series), st.integers(0, 4), st.integers(1, 4))
failures = st.dictionaries(st.sampled_from(HOMES), st.sampled_from([SupplierUnavailable, ConsentRevoked]), max_size=2)


@some
@given(
    st.sampled_from([plain_town, packed_town]),
    st.fixed_dictionaries(dict.fromkeys(HOMES, home_days)),
    st.fixed_dictionaries(dict.fromkeys(HOMES, home_days)),
    failures,
    st.sets(st.sampled_from(HOMES), max_size=1),
    st.lists(windows, max_size=8),
)
def test_many_windows_together_are_what_they_are_one_after_the_other(  # type: ignore[no-untyped-def]
    make_town, before, after, failing, removed, asked
) -> None:
    origins = [
        origin(DateWindow(FIRST + first * ONE_DAY, FIRST + (first + length) * ONE_DAY), series, home)
        for home, series, first, length in asked
    ]
    whole = DateWindow(FIRST, FIRST + 6 * ONE_DAY)
    together, alone = make_town(), make_town()
    for town in (together, alone):
        for told in (before, after):
            for home, values in told.items():
                served = {FIRST + number * ONE_DAY: value for number, value in values.items()}
                curves = {day: curve_of(day, int(value or 0)) for day, value in served.items() if value != "-1"}
                town.suppliers[home] = PretendSupplier(daily=serving(served), curve=serving_curves(curves))
            if told is before:
                one_after_the_other(town.walk, [origin(whole, series, home) for home in HOMES for series in Series])
        for home, error in failing.items():
            town.suppliers[home] = PretendSupplier(daily=error("no"), curve=error("no"))
        town.accounts.removed |= removed
        town.progress = Reports()
    expected = one_after_the_other(alone.walk, origins)
    outcomes = together.walk.sync_windows(origins)
    assert in_words(outcomes) == in_words(expected)
    assert [content(together.measures, home) for home in HOMES] == [content(alone.measures, home) for home in HOMES]
    assert sorted(map(repr, together.progress.finished_with)) == sorted(map(repr, alone.progress.finished_with))
    assert corrections(together) == corrections(alone)
    stored = [copy.deepcopy(store.documents) for store in together.touches]
    repeated = [outcome for outcome in together.walk.sync_windows(origins) if not isinstance(outcome, WorkerError)]
    assert all(report["created"] == report["updated"] == 0 for report in repeated)
    assert [store.documents for store in together.touches] == stored


def test_no_window_at_all_is_nothing_to_do(town: Town) -> None:
    assert town.walk.sync_windows([]) == []
    assert town.requests() == 0


def test_many_unchanged_packed_windows_are_one_request_and_changed_ones_three() -> None:
    town = packed_town()
    homes = [f"home{number}" for number in range(50)]
    town.tell(MAY, *homes)
    for changed, most in ((True, 2), (False, 1)):
        before = town.requests()
        reports = town.walk.sync_windows(daily(MAY, *homes))
        assert [bool(report["created"]) for report in reports] == [changed] * 50  # type: ignore[index]
        assert town.requests() - before == most
    before = town.requests()
    town.tell(LATER, *homes)
    town.walk.sync_windows(daily(LATER, *homes))
    assert town.requests() - before == 3
    assert all(content(town.measures, home) == truth_of_days(LATER) for home in homes)


def test_more_than_five_hundred_documents_go_in_more_than_one_request(town: Town) -> None:
    homes = [f"home{number}" for number in range(501 if isinstance(town.measures, PackedMeasures) else 101)]
    values = days("2024-05-09", *range(1000, 1005))
    town.tell(values, *homes)
    reports = town.walk.sync_windows(daily(values, *homes))
    assert {report["created"] for report in reports} == {7}  # type: ignore[index]
    assert all(content(town.measures, home) == truth_of_days(values) for home in homes)
    if isinstance(town.measures, PackedMeasures):
        assert town.requests() - len(homes) * 5 == 2 + 2  # ours to look at the content left aside
    else:
        assert town.measures[Period.DAY].requests - len(homes) * 2 == 2  # type: ignore[attr-defined]


def test_one_home_whose_supplier_fails_stops_no_other(town: Town) -> None:
    town.tell(MAY, *HOMES)
    town.suppliers["home2"] = PretendSupplier(daily=SupplierUnavailable("down"))
    outcomes = town.walk.sync_windows(daily(MAY, *HOMES))
    assert [type(outcome).__name__ for outcome in outcomes] == ["dict", "dict", "SupplierUnavailable", "dict"]
    assert [report["account_id"] for report in town.progress.finished_with] == ["home1", "home10", "home3"]
    assert content(town.measures, "home2") == {period: {} for period in Period}


def test_what_the_store_refuses_of_one_home_stops_no_other(town: Town) -> None:
    def refuse(documents: Sequence[Document]) -> None:
        if any(document["_id"].startswith("home2:") for document in documents):
            raise WriteRefused("not this one")

    for store in town.touches:
        store.before_write = refuse
    town.tell(MAY, *HOMES)
    outcomes = town.walk.sync_windows(daily(MAY, *HOMES))
    assert [type(outcome).__name__ for outcome in outcomes] == ["dict", "dict", "WriteRefused", "dict"]
    for home in ("home1", "home10", "home3"):
        assert content(town.measures, home) == truth_of_days(MAY)


def test_a_damaged_pack_of_one_home_stops_no_other() -> None:
    town = packed_town()
    town.tell(MAY, *HOMES)
    town.walk.sync_windows(daily(MAY, *HOMES))
    [damaged] = [document for store in town.touches for name, document in store.documents.items() if "home2:" in name]
    damaged["format"] = 99
    town.tell(LATER, *HOMES)
    outcomes = town.walk.sync_windows(daily(LATER, *HOMES))
    assert [isinstance(outcome, StoreUnavailable) for outcome in outcomes] == [False, False, True, False]
    assert all(content(town.measures, home) == truth_of_days(LATER) for home in ("home1", "home10", "home3"))


def test_a_store_that_fails_between_readings_and_totals_is_tried_window_by_window() -> None:
    town = plain_town()
    failed = False

    def fail_once(documents: Sequence[Document]) -> None:
        nonlocal failed
        if not failed:
            failed = True
            raise StoreUnavailable("a moment")

    town.measures[Period.MONTH].before_write = fail_once  # type: ignore[attr-defined]
    town.tell(MAY, *HOMES)
    outcomes = town.walk.sync_windows(daily(MAY, *HOMES))
    assert not any(isinstance(outcome, WorkerError) for outcome in outcomes)
    assert all(content(town.measures, home) == truth_of_days(MAY) for home in HOMES)


def test_one_account_s_windows_come_one_after_the_other_each_seeing_what_the_one_before_stored(town: Town) -> None:
    town.tell(MAY, "home1", "home2")
    first, second = days("2024-05-09", 0), days("2024-05-10", 0, 0)
    asked = daily(first, "home1") + daily(second, "home1") + daily(MAY, "home2") + daily(MAY, "home1")
    reports = town.walk.sync_windows(asked)
    assert [(report["created"], report["updated"]) for report in reports] == [(3, 0), (2, 2), (5, 0), (0, 0)]  # type: ignore[index]
    assert content(town.measures, "home1") == truth_of_days(MAY)


@pytest.mark.parametrize("number", range(1, 10))
@pytest.mark.parametrize("rivals", [{date(2024, 5, 11): 5500}, {date(2024, 5, 30): 1}, {date(2023, 12, 31): 5500}])
def test_another_writer_at_any_touch_loses_nothing_and_takes_nothing(
    town: Town, rivals: dict[date, int], number: int
) -> None:
    mine = {date(2024, 5, 9): 9001}
    town.tell(MAY, *HOMES)
    town.walk.sync_windows(daily(MAY, *HOMES))
    town.tell({**MAY, **mine}, *HOMES)
    rival = Town(town.measures, town.touches)
    rival.tell(rivals, "home10")
    interrupt(town.touches, number, lambda: rival.walk.sync_window(*daily(rivals, "home10")))
    town.walk.sync_windows(daily(mine, *HOMES))
    let_be(town.touches)
    rival.walk.sync_window(*daily(rivals, "home10"))
    for home in HOMES:
        truth = {**MAY, **mine, **(rivals if home == "home10" else {})}
        assert content(town.measures, home) == truth_of_days(truth)


@pytest.mark.parametrize("number", range(1, 10))
def test_an_account_removed_between_any_two_touches_leaves_nothing_behind_and_the_others_are_kept(
    town: Town, number: int
) -> None:
    town.tell(MAY, *HOMES)

    def remove() -> None:
        town.accounts.removed.add("home10")
        for store in town.measures.values():
            store.erase("home10")

    interrupt(town.touches, number, remove)
    outcomes = town.walk.sync_windows(daily(MAY, *HOMES))
    let_be(town.touches)
    if town.accounts.removed:
        assert isinstance(outcomes[1], UnknownAccount)
        assert not any(name.startswith("home10:") for store in town.touches for name in store.documents)
    for home in ("home1", "home2", "home3"):
        assert content(town.measures, home) == truth_of_days(MAY)


class Killed(BaseException):
    """The worker died here; nothing in the house may catch it."""


@pytest.mark.parametrize("written_before", [0, 1, 10**6])
@pytest.mark.parametrize("number", range(1, 4))
def test_a_worker_killed_at_any_write_leaves_what_a_repeat_makes_whole(
    town: Town, number: int, written_before: int
) -> None:
    town.tell(MAY, *HOMES)
    town.walk.sync_windows(daily(MAY, *HOMES))
    town.tell(LATER, *HOMES)
    die_at(town.touches, number, written_before, Killed)
    with suppress(Killed):
        town.walk.sync_windows(daily(LATER, *HOMES))
    let_be(town.touches)
    town.walk.sync_windows(daily(LATER, *HOMES))
    assert all(content(town.measures, home) == truth_of_days(LATER) for home in HOMES)
    unchanged = town.walk.sync_windows(daily(LATER, *HOMES))
    assert [(report["created"], report["updated"]) for report in unchanged] == [(0, 0)] * len(HOMES)  # type: ignore[index]


def test_what_is_corrected_is_noted_before_it_is_written(town: Town) -> None:
    town.tell(MAY, *HOMES)
    town.walk.sync_windows(daily(MAY, *HOMES))
    noted_at_writing: list[int] = []
    for store in town.touches:
        store.before_write = lambda _: noted_at_writing.append(len(town.progress.corrected))
    town.tell(LATER, *HOMES)
    town.walk.sync_windows(daily(LATER, *HOMES))
    assert set(noted_at_writing) == {len(HOMES)}
    assert {(entry.key, entry.was, entry.milliwatt_hours) for entry in town.progress.corrected} == {
        ("2024-05-10", 8_000_000, 8_640_000)
    }
