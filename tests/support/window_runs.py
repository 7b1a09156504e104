"""Short syncs over stores in memory, and what must be stored after them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from tests.support.factories import (
    PretendSupplier,
    curve_of,
    make_window_sync,
    serving_curves,
    serving_days,
    window_job,
)
from tests.support.fakes import DoctypeStores
from tests.support.whole_homes import index_entry, sync_entries
from worker.domain.documents import Entry
from worker.domain.messages import WindowResult
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, DateWindow

Stores = DoctypeStores


def days(first: str, *watt_hours: int) -> dict[date, int]:
    start = date.fromisoformat(first)
    return {start + number * ONE_DAY: energy for number, energy in enumerate(watt_hours)}


def window_over(*values: dict[date, Any]) -> DateWindow:
    all_days = [day for value_by_day in values for day in value_by_day]
    return DateWindow(min(all_days), max(all_days) + ONE_DAY)


def sync_days(
    measures: Stores, values: dict[date, Any], home: str = "home1", window: DateWindow | None = None
) -> WindowResult:
    window_sync = make_window_sync(PretendSupplier(daily=serving_days(values)), measures)
    return window_sync.sync_window(window_job(window or window_over(values), Series.DAILY, home))


def sync_curve(
    measures: Stores, rows: dict[date, Any], home: str = "home1", window: DateWindow | None = None
) -> WindowResult:
    window_sync = make_window_sync(PretendSupplier(curve=serving_curves(rows)), measures)
    return window_sync.sync_window(window_job(window or window_over(rows), Series.LOAD_CURVE, home))


def rounded(milliwatt_hours: int, unit: int) -> float:
    return (milliwatt_hours + unit // 2) // unit * unit / 1_000_000


def truth_of_days(values: dict[date, int]) -> dict[Doctype, dict[str, float]]:
    """Return what must be stored, computed without the code under test."""
    loads: dict[Doctype, dict[str, float]] = {period: {} for period in Doctype}
    for period, length, unit in ((Doctype.DAY, 10, 1000), (Doctype.MONTH, 7, 100), (Doctype.YEAR, 4, 100)):
        sums: dict[str, int] = {}
        for day, energy in values.items():
            key = day.isoformat()[:length]
            sums[key] = sums.get(key, 0) + energy * 1000
        loads[period] = {key: rounded(total, unit) for key, total in sums.items()}
    return loads


def revisions(measures: Stores) -> dict[str, Any]:
    return {key: document["_rev"] for store in measures.values() for key, document in store.documents.items()}


FIRST_RUN = days("2020-10-30", 7000, 8000, 25500, 26212, 25000)
SECOND_RUN = days("2020-10-30", 7000, 8000, 25500, 26213, 25000, 5500)
CURVE = {day: curve_of(day, 150) for day in (date(2024, 10, 26), date(2024, 10, 27))}
CORRECTED_CURVE = {**CURVE, date(2024, 10, 27): curve_of(date(2024, 10, 27), 151)}


def _sync_rows(series: Series, *rows: Entry) -> Callable[[Stores], WindowResult]:
    window = DateWindow(date(2024, 10, 25), date(2024, 10, 29))
    return lambda stores: sync_entries(stores, series, rows, window)


def _steps(watts: int) -> list[Entry]:
    """Return the production of an evening, and of the night and the noon of the next day, of 25 hours."""
    return [
        Entry("2024-10-26T18:00Z", 0),
        Entry("2024-10-27T00:00Z", 0),
        Entry("2024-10-27T11:00Z", watts * 500),
        Entry("2024-10-27T11:30Z", 7000),
    ]


_INDEX = index_entry(date(2024, 10, 26), {"HC": 100, "HP": 200})
Run = Callable[[Stores], WindowResult]
RUNS: dict[str, tuple[Run, Run]] = {
    "daily": (lambda stores: sync_days(stores, FIRST_RUN), lambda stores: sync_days(stores, SECOND_RUN)),
    "load_curve": (lambda stores: sync_curve(stores, CURVE), lambda stores: sync_curve(stores, CORRECTED_CURVE)),
    "production_daily": (
        _sync_rows(Series.PRODUCTION_DAILY, Entry("2024-10-27", 4_000_000)),
        _sync_rows(Series.PRODUCTION_DAILY, Entry("2024-10-27", 4_100_000), Entry("2024-10-28", 0)),
    ),
    "production_load_curve": (
        _sync_rows(Series.PRODUCTION_LOAD_CURVE, *_steps(800)),
        _sync_rows(Series.PRODUCTION_LOAD_CURVE, *_steps(801)),
    ),
}
# Of series whose readings have no totals: one write only.
RUNS_WITHOUT_TOTALS: dict[str, tuple[Run, Run]] = {
    "registers": (
        _sync_rows(Series.REGISTERS, _INDEX, index_entry(date(2024, 10, 27), {"HC": 101, "HP": 209})),
        _sync_rows(Series.REGISTERS, _INDEX, index_entry(date(2024, 10, 27), {"HC": 102, "HP": 208})),
    ),
}
