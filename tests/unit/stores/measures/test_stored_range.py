"""A range of documents, page by page: totals come with what they are made of, in both layouts."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from tests.support.fakes import memory_measures, packed_memory_measures
from tests.support.output_home import put, put_curve, put_days
from worker.domain.documents import Entry
from worker.domain.series import Doctype, Series
from worker.domain.windows import DateWindow
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.measures.stored_range import find_stored_range

AUTUMN = date(2024, 10, 27)  # It has 25 hours.
ALL_DAYS = DateWindow(date(2020, 1, 1), date(2030, 1, 1))


@pytest.fixture(params=[memory_measures, packed_memory_measures])
def measures(request: pytest.FixtureRequest) -> MeasureStore:
    """A store with the days of ten months but for one, and the curve of three days but for a half-hour."""
    store: MeasureStore = request.param()
    days = (date(2023, 12, 30) + timedelta(days=number) for number in range(304))
    put_days(store, Series.DAILY, {day: 1000 for day in days if day != date(2024, 2, 29)})
    put_curve(store, [AUTUMN - timedelta(days=1), AUTUMN])
    put(store, Doctype.MINUTE, [Entry("2024-10-28T10:30Z", 1000), Entry("2024-10-28T11:00Z", 1000, 10)])
    put(store, Doctype.HOUR, [Entry("2024-10-28T10:00Z", 1000), Entry("2024-10-28T11:00Z", 1000)])
    return store


def counts_of(measures: MeasureStore, doctype: Doctype, limit: int, days: DateWindow = ALL_DAYS) -> list[list[int]]:
    """Return the counts of each document of the range, which is read in pages of ``limit`` documents."""
    stored, more, counts = find_stored_range(measures, "home1", doctype, days), True, []
    while more:
        page, more = stored.read(limit)
        counts += [[document[name] for name in document if name.endswith(("days", "minutes"))] for document in page]
    return counts


@pytest.mark.parametrize("limit", [1, 7, 5000])
def test_totals_of_each_page_count_what_is_within_them(measures: MeasureStore, limit: int) -> None:
    lengths = [31, 28, 31, 30, 31, 30, 31, 31, 30, 28]
    months = counts_of(measures, Doctype.MONTH, limit)
    assert [known for known, _ in months] == [2, *lengths]
    assert [expected for _, expected in months] == [31, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31]
    assert counts_of(measures, Doctype.YEAR, limit) == [[2, 365], [301, 366]]
    assert counts_of(measures, Doctype.HOUR, limit) == [[60, 60]] * (24 + 25) + [[30, 60], [10, 60]]
    assert counts_of(measures, Doctype.DAY, limit) == [[]] * 303


def test_a_part_of_a_period_has_the_counts_of_the_whole(measures: MeasureStore) -> None:
    one_day = DateWindow(date(2024, 1, 31), date(2024, 2, 1))
    assert counts_of(measures, Doctype.MONTH, 5, one_day) == [[31, 31]]
    assert counts_of(measures, Doctype.YEAR, 5, one_day) == [[301, 366]]
