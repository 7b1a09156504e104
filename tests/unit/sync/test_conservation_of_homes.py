"""Energy is conserved in random homes with panels and registers, per direction, whatever the order of the windows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import MemoryRecorder, content
from tests.support.fakes import MemoryStore, memory_measures
from tests.support.interleaving import Turns
from tests.support.strategies import few, several
from tests.support.whole_homes import FAMILIES, WholeHome, sync_entries, whole_homes
from worker.domain.completeness import civil_day
from worker.domain.documents import ALL_KEYS, Entry, round_as_stored, to_entry
from worker.domain.prices.choices import TariffChoices
from worker.domain.series import Doctype, Period, Series, find_doctype, of_supplier
from worker.domain.tariffs import day_energies, find_breaks
from worker.domain.windows import ONE_DAY, DateWindow
from worker.stores.measures.measure_store import MeasureStore
from worker.sync.verification import AuditResult, MeasureChecks

ELECTRICITY = of_supplier("enedis")


class NoCorrections:
    """A table of corrections without any."""

    def list_between(self, *_: Any) -> list[Any]:
        return []


def check(measures: MeasureStore, home: WholeHome) -> AuditResult:
    days: dict[Series, Iterable[date]] = {series: list(wh) for series, wh in home.watt_hours.items()}
    checks = MeasureChecks(
        result=AuditResult("home1"),
        measures=measures,
        corrections=NoCorrections(),  # type: ignore[arg-type]
        stored_days={series: dict.fromkeys(days.get(series, ()), timedelta()) for series in ELECTRICITY},
        set_aside={},
        today=home.window.end,
        daily_limit_kwh=900,
        hours=TariffChoices(),
    )
    checks.run()
    return checks.result


def entries_of(measures: MeasureStore, doctype: Doctype) -> list[Entry]:
    return [to_entry(document) for document in measures.read("home1", {doctype: ALL_KEYS})[doctype]]


def assert_conserved(measures: MeasureStore, home: WholeHome) -> None:
    """Add the documents up without the code under test, and by it."""
    for daily, (curve, registers) in FAMILIES.items():
        truth = {day: 1000 * watt_hours for day, watt_hours in home.watt_hours[daily].items()}
        assert sums(curve.inputs, measures, civil_day) == truth
        assert sums(daily.inputs, measures, date.fromisoformat) == truth
        assert sums(doctype_of(daily, Period.HOUR), measures, civil_day) == truth
        for period, length in ((Period.MONTH, 7), (Period.YEAR, 4)):
            doctype, totals = doctype_of(daily, period), Counter[str]()
            for day, amount in truth.items():
                totals[str(day)[:length]] += amount
            rounded = {key: round_as_stored(total, doctype) for key, total in totals.items()}
            assert sums(doctype, measures, str) == rounded
        rows = entries_of(measures, registers.inputs)
        energies = {energy.day: energy for energy in day_energies(rows)}
        assert {day: 1000 * energy.total for day, energy in energies.items()} == truth
        assert {day: dict(energy.by_period) for day, energy in energies.items()} == home.by_period[daily]
        assert list(find_breaks(rows)) == []
    checks = check(measures, home)
    assert (checks.findings, checks.breaks) == ([], {})
    assert checks.documents == sum(len(found) for found in content(measures).values())


def sums(doctype: Doctype, measures: MeasureStore, group: Any) -> dict[Any, int]:
    totals: Counter[Any] = Counter()
    for entry in entries_of(measures, doctype):
        totals[group(entry.key)] += entry.amount
    return dict(totals)


def doctype_of(series: Series, period: Period) -> Doctype:
    doctype = find_doctype(series, period)
    assert doctype is not None
    return doctype


def windows_of(home: WholeHome, series: Series, cuts: Iterable[int]) -> list[DateWindow]:
    """Cut the home's days into windows."""
    ends = sorted({min(cut, home.window.days) for cut in cuts if cut > 0} | {home.window.days})
    days = [0, *ends]
    start = home.window.start
    return [DateWindow(start + a * ONE_DAY, start + b * ONE_DAY) for a, b in pairwise(days)]


@few
@given(whole_homes(), st.data())
def test_energy_is_conserved_however_the_windows_are_cut_ordered_and_repeated(home: WholeHome, data: Any) -> None:
    measures, recorder = memory_measures(), MemoryRecorder()
    cuts = {series: data.draw(st.lists(st.integers(1, 6), max_size=3)) for series in ELECTRICITY}
    windows = [(series, window) for series in ELECTRICITY for window in windows_of(home, series, cuts[series])]
    order = data.draw(st.permutations(windows))
    again = data.draw(st.lists(st.sampled_from(windows), max_size=4))
    for series, window in [*order, *again]:
        sync_entries(measures, series, home.fetched(series, window), window, recorder=recorder)
    assert_conserved(measures, home)
    before = {key: document["_rev"] for store in measures.values() for key, document in store.documents.items()}
    for series, window in windows:
        result = sync_entries(measures, series, home.fetched(series, window), window, recorder=recorder)
        assert result["created"] == result["updated"] == result["removed"] == 0
    after = {key: document["_rev"] for store in measures.values() for key, document in store.documents.items()}
    assert after == before


@several
@given(whole_homes(longest=2), st.lists(st.integers(0, 1), max_size=60), st.sampled_from(sorted(ELECTRICITY)))
def test_two_writers_of_any_series_in_any_interleaving_leave_what_one_leaves(
    home: WholeHome, schedule: list[int], series: Series
) -> None:
    measures = memory_measures()
    for other in ELECTRICITY:
        if other is not series:
            sync_entries(measures, other, home.fetched(other, home.window), home.window)
    half = DateWindow(home.window.start, home.window.start + ONE_DAY)

    def write(window: DateWindow) -> object:
        return sync_entries(measures, series, home.fetched(series, window), window)

    Turns(schedule).run(measures, [lambda: write(home.window), lambda: write(half)])
    assert_conserved(measures, home)


@few
@given(whole_homes(), st.data())
def test_a_document_that_is_changed_by_hand_is_found(home: WholeHome, data: Any) -> None:
    measures = memory_measures()
    for series in ELECTRICITY:
        sync_entries(measures, series, home.fetched(series, home.window), home.window)
    spoilable = [doctype for doctype in Doctype if doctype.series in {*FAMILIES, *FAMILIES[Series.DAILY]}]
    doctype = data.draw(st.sampled_from([one for one in spoilable if not one.details]))
    stored: Mapping[str, Any] = _documents(measures[doctype])
    document = stored[data.draw(st.sampled_from(sorted(stored)))]
    document["load"] = round(document["load"] + 0.1, 6)
    assert check(measures, home).findings


def _documents(store: MemoryStore) -> dict[str, Any]:
    return store.documents
