"""Window syncs in the packed layout: races, deaths and repeats, where many values share a document."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.support.factories import (
    NOW,
    PretendAccounts,
    PretendSupplier,
    content,
    curve_of,
    make_window_sync,
    serving_curves,
    serving_days,
    window_job,
)
from tests.support.fakes import (
    DoctypeStores,
    MemoryStore,
    clear_hooks,
    crash_at_write,
    interrupt,
    memory_measures,
    pack_store,
)
from tests.support.stepped_stores import Killed, SteppedStore
from tests.support.window_runs import (
    CURVE,
    FIRST_RUN,
    RUNS,
    Run,
    days,
    sync_curve,
    sync_days,
    truth_of_days,
    window_over,
)
from tests.unit.sync.test_write_protocol import WriteProtocol, explored
from worker.domain.documents import ALL_KEYS, Entry, to_document
from worker.domain.packing import PACKED_SERIES
from worker.domain.series import USUAL_SERIES, Doctype, Series
from worker.errors import StoreUnavailable, UnknownAccount, WriteRefused
from worker.stores.measures.measure_store import Document, MeasureStore
from worker.stores.measures.packed import PackedStore

Packs = dict[Series, MemoryStore]


def packed() -> tuple[PackedStore, Packs]:
    packs = {series: MemoryStore() for series in PACKED_SERIES}
    return pack_store(packs), packs


def expected_after(*runs: Run) -> DoctypeStores:
    """Return the stores of the plain layout after the runs; the packed layout must have the same documents."""
    plain = memory_measures()
    for run in runs:
        run(plain)
    return plain


@pytest.mark.parametrize("series", RUNS)
def test_both_layouts_hold_the_same_documents_after_the_same_runs(series: str) -> None:
    measures, packs = packed()
    for run in RUNS[series]:
        run(measures)
    plain = expected_after(*RUNS[series])
    everything = dict.fromkeys(Doctype, ALL_KEYS)
    packed_documents, plain_documents = (store.read("home1", everything) for store in (measures, plain))
    for period in Doctype:
        documents = [{**document, "_rev": ""} for document in packed_documents[period]]
        assert documents == [{**document, "_rev": ""} for document in plain_documents[period]]
    assert sum(len(store.documents) for store in packs.values()) == (2 if Series(series).has_steps else 1)


@pytest.mark.parametrize("series", RUNS)
@pytest.mark.parametrize("fresh", [True, False], ids=["first run", "second run"])
def test_a_worker_killed_at_any_write_leaves_what_a_replay_makes_whole(series: str, fresh: bool) -> None:
    first, second = RUNS[series]
    expected, kills = content(expected_after(first, second)), 0
    for number in range(1, 5):
        for written_before in (0, 1, 10**6):
            measures, packs = packed()
            if not fresh:
                first(measures)
            crash_at_write(packs.values(), number, written_before, Killed)
            try:
                second(measures)
            except Killed:
                kills += 1
            clear_hooks(packs.values())
            second(measures)
            assert content(measures) == expected
            result = second(measures)
            assert (result["created"], result["updated"]) == (0, 0)
    assert kills >= 3


@pytest.mark.parametrize("number", range(1, 5))
def test_two_windows_that_touch_different_half_hours_of_one_day_both_come_in(number: int) -> None:
    day = date(2024, 10, 27)
    morning, evening = {day: curve_of(day, 150)[:20]}, {day: curve_of(day, 150)[30:]}
    measures, packs = packed()
    interrupt(packs.values(), number, lambda: sync_curve(measures, evening))
    sync_curve(measures, morning)
    clear_hooks(packs.values())
    if number > 2:
        sync_curve(measures, evening)
    both = expected_after(lambda plain: sync_curve(plain, morning), lambda plain: sync_curve(plain, evening))
    assert content(measures) == content(both)
    assert len(packs[Series.LOAD_CURVE].documents) == 1


@pytest.mark.parametrize("number", range(1, 5))
@pytest.mark.parametrize("series", USUAL_SERIES)
def test_an_account_removed_between_any_two_touches_leaves_nothing_behind(series: Series, number: int) -> None:
    supplier = PretendSupplier(daily=serving_days(FIRST_RUN), curve=serving_curves(CURVE))
    accounts, (measures, packs) = PretendAccounts(), packed()
    asked = window_job(window_over(FIRST_RUN if series is Series.DAILY else CURVE), series)

    def remove() -> None:
        accounts.removed.add("home1")
        measures.erase("home1")

    interrupt(packs.values(), number, remove)
    try:
        make_window_sync(supplier, measures, accounts).sync_window(asked)
    except UnknownAccount:
        assert "home1" in accounts.removed
    assert not accounts.removed or not any(store.documents for store in packs.values())


def test_a_rival_at_every_write_is_a_fault_of_the_store() -> None:
    measures, packs = packed()
    store, mine, wins = packs[Series.DAILY], {date(2024, 1, 10): 5000}, 0
    sync_days(measures, {date(2024, 3, 1): 1})

    def rival(documents: Sequence[Document]) -> None:
        nonlocal wins
        wins += 1
        store.before_write = None
        sync_days(measures, {date(2024, 3, 1): wins + 1})
        store.before_write = rival

    store.before_write = rival
    with pytest.raises(StoreUnavailable, match="try again"):
        sync_days(measures, mine)
    store.before_write = None
    sync_days(measures, mine)
    assert content(measures) == truth_of_days({**mine, date(2024, 3, 1): wins + 1})


def test_a_pack_of_a_later_program_is_neither_read_nor_written_over() -> None:
    measures, packs = packed()
    sync_days(measures, days("2024-05-09", 9000))
    store = packs[Series.DAILY]
    [stored] = store.documents.values()
    stored["format"] = 2
    before = dict(stored)
    for touch in (
        lambda: measures.read("home1", {Doctype.DAY: ALL_KEYS}),
        lambda: sync_days(measures, days("2024-05-10", 1)),
        lambda: measures.write({Doctype.DAY: [to_document("home1", Doctype.DAY, Entry("2024-05-10", 1), NOW)]}),
        lambda: measures.erase("home1"),
    ):
        with pytest.raises(StoreUnavailable, match=r"format 2.*update Relève"):
            touch()
    assert list(store.documents.values()) == [before]


def test_a_document_that_has_no_place_in_a_pack_is_refused_and_nothing_is_written() -> None:
    measures, packs = packed()
    good = to_document("home1", Doctype.DAY, Entry("2024-05-10", 1000), NOW)
    with pytest.raises(WriteRefused, match="RELEVE_LAYOUT=plain"):
        measures.write({Doctype.DAY: [good, {**good, "_id": "home1:2024-05-11", "price": 1}]})
    assert packs[Series.DAILY].documents == {}


class Packed(WriteProtocol):
    """The protocol on packs: workers stop and die between any two calls; of a bulk write any part is written."""

    def open_stores(self) -> MeasureStore:
        return pack_store({series: SteppedStore(MemoryStore()) for series in PACKED_SERIES})

    def stepped_stores(self) -> MeasureStore:
        return self.measures


@pytest.mark.slow
@pytest.mark.hypothesis  # `make test-rest` runs it with more examples.
def test_no_order_of_events_makes_packs_that_differ_from_what_was_told_last() -> None:
    run_state_machine_as_test(Packed, settings=explored(100, 40))
