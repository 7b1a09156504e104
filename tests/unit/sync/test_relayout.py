"""Measures migrated to the other layout: nothing lost, nothing doubled, killed anywhere and run again."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest

from tests.support.factories import NOW, PretendSupplier, content, curve_of, make_window_sync, window_job
from tests.support.fakes import (
    ByDoctype,
    DoctypeStores,
    MemoryStore,
    clear_hooks,
    crash_at_write,
    memory_measures,
    pack_store,
)
from tests.support.stepped_stores import Killed
from tests.support.window_runs import CORRECTED_CURVE, CURVE, FIRST_RUN, sync_curve, sync_days, truth_of_days
from worker.domain.documents import ALL_KEYS, Entry, to_amount, to_document
from worker.domain.packing import PACKED_SERIES
from worker.domain.series import Doctype, Series
from worker.domain.windows import DateWindow
from worker.errors import StoreUnavailable
from worker.stores.measures.measure_store import Document, DocumentsByDoctype, MeasureStore
from worker.sync.layout_migration import LayoutMigrator, MigrationCounts


@dataclass
class Place:
    """Both layouts on one server of MemoryStores."""

    plain: DoctypeStores = field(default_factory=memory_measures)
    packs: dict[Series, MemoryStore] = field(
        default_factory=lambda: {series: MemoryStore() for series in PACKED_SERIES}
    )

    def __post_init__(self) -> None:
        self.packed = pack_store(self.packs)

    @property
    def stores(self) -> list[MemoryStore]:
        return [*self.plain.values(), *self.packs.values()]

    def ends(self, to_packed: bool) -> tuple[MeasureStore, MeasureStore]:
        """Return the old and the new layout."""
        return (self.plain, self.packed) if to_packed else (self.packed, self.plain)

    def move(self, to_packed: bool, account_id: str = "home1") -> MigrationCounts:
        old, new = self.ends(to_packed)
        window_sync, counts = make_window_sync(PretendSupplier(), new), MigrationCounts()

        def recompute_totals(account_id: str, series: Series, window: DateWindow) -> int:
            return window_sync.recompute_totals(window_job(window, series, account_id))

        LayoutMigrator(old, new, recompute_totals).migrate_account(account_id, counts)
        return counts


def fill(measures: MeasureStore, home: str = "home1") -> None:
    """Store two years with a clock change, a correction, a gap of months and steps of ten minutes."""
    stores: Any = measures
    sync_days(stores, {date(2023, 12, 31): 4000, **FIRST_RUN}, home)
    sync_curve(stores, CURVE, home)
    sync_curve(stores, CORRECTED_CURVE, home)
    sync_curve(stores, {date(2024, 3, 31): curve_of(date(2024, 3, 31), 99, minutes=10)}, home)


def copy_of(filled: Place) -> Place:
    place = Place()
    for store, other in zip(place.stores, filled.stores, strict=True):
        store.documents = deepcopy(other.documents)
    return place


def documents(measures: MeasureStore, home: str = "home1") -> list[Document]:
    stored = [document for rows in measures.read(home, dict.fromkeys(Doctype, ALL_KEYS)).values() for document in rows]
    return [{name: value for name, value in document.items() if name != "_rev"} for document in stored]


@pytest.fixture(params=[True, False], ids=["to packed", "to plain"])
def to_packed(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_all_of_an_account_is_moved_and_nothing_of_another(to_packed: bool) -> None:
    place = Place()
    old, new = place.ends(to_packed)
    for home in ("home1", "home2"):
        fill(old, home)
    before = documents(old)
    days = [document["load"] for document in old.read("home1", {Doctype.DAY: ALL_KEYS})[Doctype.DAY]]
    counts = place.move(to_packed)
    assert (counts.accounts, counts.documents, counts.written, counts.erased) == (1, *[len(before)] * 3)
    assert counts.energy[Doctype.DAY] == sum(map(to_amount, days)) > 0
    assert counts.recounted == 0
    assert (documents(new), documents(old)) == (before, [])
    assert len(documents(old, "home2")) == len(before)
    assert place.move(to_packed) == MigrationCounts()


def test_there_and_back_again_is_what_it_was() -> None:
    place = Place()
    fill(place.plain)
    before = documents(place.plain)
    place.move(True)
    place.move(False)
    assert documents(place.plain) == before
    assert not any(store.documents for store in place.packs.values())


@pytest.mark.slow
@pytest.mark.parametrize("written_before", [0, 1, pytest.param(10**6, marks=pytest.mark.rest)])
def test_killed_at_any_write_it_goes_on_and_loses_nothing(to_packed: bool, written_before: int) -> None:
    kills = 0
    filled = Place()
    fill(filled.ends(to_packed)[0])
    for number in range(1, 40):
        place = copy_of(filled)
        old, new = place.ends(to_packed)
        before, whole = documents(old), content(old)
        crash_at_write(place.stores, number, written_before, Killed)
        try:
            place.move(to_packed)
        except Killed:
            kills += 1
        else:
            break  # There are no more writes to die at.
        clear_hooks(place.stores)
        assert {period: {**stored, **content(old)[period]} for period, stored in content(new).items()} == whole
        place.move(to_packed)
        assert (documents(new), documents(old)) == (before, [])
    assert kills >= 4


def test_killed_between_any_two_erasures_it_goes_on(to_packed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    kills = 0
    filled = Place()
    fill(filled.ends(to_packed)[0])
    for number in range(5):
        place = copy_of(filled)
        old, new = place.ends(to_packed)
        before = documents(old)
        die_before_erasure(place, number, monkeypatch)
        try:
            place.move(to_packed)
        except Killed:
            kills += 1
        monkeypatch.undo()
        assert documents(new) == before
        place.move(to_packed)
        assert (documents(new), documents(old)) == (before, [])
    assert kills == (5 if to_packed else 2)


def die_before_erasure(place: Place, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die before the ``number``-th erasure of a doctype, or deletion of a series' packs."""
    left = [number]

    def wrap(call: Callable[[Any], Any], is_erasure: Callable[[Any], bool]) -> Callable[[Any], Any]:
        def call_or_die(argument: Any) -> Any:
            if is_erasure(argument):
                if not left[0]:
                    raise Killed
                left[0] -= 1
            return call(argument)

        return call_or_die

    for store in place.plain.values():
        monkeypatch.setattr(store, "erase", wrap(store.erase, lambda _: True))
    for store in place.packs.values():
        is_deletion = lambda documents: any(document.get("_deleted") for document in documents)  # noqa: E731
        monkeypatch.setattr(store, "write", wrap(store.write, is_deletion))


def test_where_both_layouts_hold_readings_the_younger_stays_and_totals_are_made_anew(to_packed: bool) -> None:
    place = Place()
    old, new = place.ends(to_packed)
    stores: Any = old
    sync_days(stores, {date(2024, 5, 9): 9000, date(2024, 5, 10): 8000})
    later: Any = new
    window_sync = make_window_sync(PretendSupplier(), later, now=lambda: NOW + timedelta(hours=1))
    young = to_document("home1", Doctype.DAY, Entry("2024-05-10", 8_500_000), NOW + timedelta(hours=1))
    assert not any(new.write({Doctype.DAY: [young]}).values())
    window_sync.recompute_totals(window_job(DateWindow(date(2024, 5, 10), date(2024, 5, 11)), Series.DAILY))
    counts = place.move(to_packed)
    assert counts.recounted == 2
    assert content(new) == truth_of_days({date(2024, 5, 9): 9000, date(2024, 5, 10): 8500})
    assert documents(old) == []


def test_what_does_not_read_back_alike_is_not_erased(to_packed: bool) -> None:
    place = Place()
    old, _ = place.ends(to_packed)
    fill(old)
    before = documents(old)

    new = place.ends(to_packed)[1]
    forgetful = ByDoctype(new)
    forgetful.read = lambda *request: _without_last(new.read(*request))  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable, match="read back"):
        LayoutMigrator(old, forgetful, lambda *_: 0).migrate_account("home1", MigrationCounts())
    assert documents(old) == before


def _without_last(documents: DocumentsByDoctype) -> DocumentsByDoctype:
    return {period: rows[:-1] for period, rows in documents.items()}


def test_a_total_without_readings_is_moved_too(to_packed: bool) -> None:
    place = Place()
    old, new = place.ends(to_packed)
    written = [
        (Doctype.HOUR, Entry("2024-10-27T01:00Z", 404_600)),
        (Doctype.MONTH, Entry("2024-10", 293_336_400)),
        (Doctype.YEAR, Entry("2023", 3_052_617_000)),
    ]
    for period, entry in written:
        assert old.write({period: [to_document("home1", period, entry, NOW)]}) == {period: []}
    before = documents(old)
    place.move(to_packed)
    assert (documents(new), documents(old)) == (before, [])
