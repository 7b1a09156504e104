"""The comparison of one account's stored documents with one another and with the registry, series by series.

Curves are read a month at a time, so that memory stays small however long the history is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from worker.domain.completeness import civil_day, civil_day_of, interval_days
from worker.domain.consistency import (
    Discrepancy,
    MonthComparison,
    check_days,
    check_limit,
    check_overlaps,
    check_peak_days,
    check_peaks,
    check_registers,
    check_stored,
    check_totals,
    compared_with,
    find_deviations,
    overdue_days,
)
from worker.domain.documents import ALL_KEYS, Document, Entry, KeyRange, key_range, to_entry
from worker.domain.series import Doctype, Granularity, Series, of_supplier
from worker.domain.tariffs import SequenceBreak, day_energies, find_breaks
from worker.domain.windows import ONE_DAY, DateWindow, split_window
from worker.stores.measures.measure_store import MeasureStore
from worker.stores.registry.supplier_answers import CorrectionTable

_DAYS_AT_ONCE: Final = 31


@dataclass(kw_only=True)
class MeasureChecks:
    """The comparison of one account; ``run`` fills ``findings``, the notes and the number of ``documents``.

    ``stored_days``: by series, the days of which the registry says that something is stored. ``set_aside``: by series,
    the days of which an impossible value was set aside. ``today``: no curve is looked for after it.
    Notes are no faults, and nothing repairs them. ``breaks``: by series of registers, where a new sequence begins.
    ``deviations``: months whose days are not what was published for them. ``provisional``: by series, the days that
    should be final by now.
    """

    account_id: str
    measures: MeasureStore
    corrections: CorrectionTable
    stored_days: Mapping[Series, Collection[date]]
    set_aside: Mapping[Series, Collection[date]]
    today: date
    daily_limit_kwh: float
    findings: list[Discrepancy] = field(default_factory=list)
    breaks: dict[Series, list[SequenceBreak]] = field(default_factory=dict)
    deviations: list[MonthComparison] = field(default_factory=list)
    provisional: dict[Series, list[date]] = field(default_factory=dict)
    documents: int = 0
    _rows: dict[Series, list[Entry]] = field(default_factory=dict)

    def run(self) -> None:
        """Compare the documents of each series. Raises StoreUnavailable."""
        for series in self.stored_days:
            if series.has_steps:
                self._check_curve(series)
                continue
            rows = self._rows_of(series)
            self.documents += len(rows)
            self._check_stored(series, _days_of(series, rows))
            if series.is_daily_energy:
                self._check_daily(series, rows)
            elif series.has_intervals:
                self._check_periods(series, rows)
            elif series.description.granularity is Granularity.REGISTER:
                self._check_registers(series, rows)
            elif series.description.granularity is Granularity.INSTANT:
                self.findings += check_peak_days(series, rows)

    def _check_stored(self, series: Series, days: Collection[date]) -> None:
        self.findings += check_stored(series, self.stored_days[series], days)

    def _check_daily(self, series: Series, days: Sequence[Entry]) -> None:
        for doctype in series.totals:
            totals = self._read(doctype, ALL_KEYS)
            self.documents += len(totals)
            self.findings += check_totals(days, totals, doctype)
        if series.has_daily_limit:
            self.findings += check_limit(series, days, self.set_aside.get(series, ()), self.daily_limit_kwh)
        if overdue := overdue_days(series, days, self.today):
            self.provisional[series] = overdue

    def _check_periods(self, series: Series, periods: Sequence[Entry]) -> None:
        """Check that no two periods overlap; compare the months that they make with those of the daily values."""
        self.findings += check_overlaps(series, self._read_documents(series.inputs, ALL_KEYS))
        supplier = series.description.supplier
        for daily in of_supplier(supplier, self.stored_days):
            if daily.is_daily_energy:
                self.deviations += find_deviations(self._rows_of(daily), periods)

    def _check_registers(self, series: Series, rows: Sequence[Entry]) -> None:
        if breaks := list(find_breaks(rows)):
            self.breaks[series] = breaks
        daily = compared_with(series)
        if not rows or daily is None:
            return
        window = DateWindow(date.fromisoformat(rows[0].key), date.fromisoformat(rows[-1].key) + ONE_DAY)
        corrected = self._corrected_days((daily, series), window)
        self.findings += check_registers(series, day_energies(rows), self._rows_of(daily), corrected)

    def _check_curve(self, series: Series) -> None:
        daily, days_stored = compared_with(series), set[date]()
        days = self._rows_of(daily) if daily else []
        peaks = {peak: self._rows_of(peak) for peak in self.stored_days if _is_peak_of(peak, series)}
        for part in self._parts(series):
            step_documents = self._read_documents(series.inputs, key_range(_with_neighbours(part), series.inputs))
            steps = list(map(to_entry, step_documents))
            steps_within = _steps_within(steps, part, series)
            self.documents += len(steps_within)
            days_stored.update(civil_day(entry.key) for entry in steps_within)
            self.findings += [one for one in check_overlaps(series, step_documents) if _is_day_of(one.key, part)]
            for doctype in series.totals:
                totals = self._read(doctype, key_range(part, doctype))
                self.documents += len(totals)
                self.findings += check_totals(steps_within, totals, doctype)
            family = [one for one in (daily, series, *peaks) if one]
            corrected = self._corrected_days(family, part)
            self.findings += check_days(series, steps, _of_part(days, part), corrected)
            for peak, rows in peaks.items():
                self.findings += check_peaks(peak, _of_part(rows, part), steps_within, corrected)
        self._check_stored(series, days_stored)

    def _parts(self, series: Series) -> Iterator[DateWindow]:
        """Yield the days with a load curve in parts, oldest first; nothing where there is no curve."""
        pages = self.measures.read(self.account_id, dict.fromkeys(series.doctypes, ALL_KEYS), limit=1).values()
        starts = [civil_day(to_entry(page[0]).key) for page in pages if page]
        end = self.today + ONE_DAY
        if starts and min(starts) < end:
            yield from split_window(DateWindow(min(starts), end), _DAYS_AT_ONCE)

    def _rows_of(self, series: Series) -> list[Entry]:
        """Return all rows of a series without steps, some hundreds a year."""
        if series not in self._rows:
            self._rows[series] = self._read(series.inputs, ALL_KEYS)
        return self._rows[series]

    def _read(self, doctype: Doctype, keys: KeyRange) -> list[Entry]:
        return [to_entry(document) for document in self._read_documents(doctype, keys)]

    def _read_documents(self, doctype: Doctype, keys: KeyRange) -> list[Document]:
        return self.measures.read(self.account_id, {doctype: keys})[doctype]

    def _corrected_days(self, family: Collection[Series], window: DateWindow) -> set[date]:
        """Return the days of the window of which the supplier has changed a reading of one of these series."""
        return {
            civil_day_of(correction.key, series)
            for series in family
            for correction in self.corrections.list_between(
                self.account_id, series.inputs, *key_range(window, series.inputs)
            )
        }


def _days_of(series: Series, rows: Sequence[Entry]) -> set[date]:
    """Return the days of which a row tells something: of a period all of its days."""
    if series.has_intervals:
        return {day for row in rows for day in interval_days(row).dates()}
    return {date.fromisoformat(row.key) for row in rows}


def _is_peak_of(series: Series, curve: Series) -> bool:
    return series.description.granularity is Granularity.INSTANT and compared_with(series) is curve


def _with_neighbours(window: DateWindow) -> DateWindow:
    """Return the window with the day before and the day after it, to recognize a curve shifted by one step."""
    return DateWindow(window.start - ONE_DAY, window.end + ONE_DAY)


def _is_day_of(key: str, window: DateWindow) -> bool:
    return window.start.isoformat() <= key < window.end.isoformat()


def _of_part(rows: Sequence[Entry], window: DateWindow) -> list[Entry]:
    return [entry for entry in rows if _is_day_of(entry.key, window)]


def _steps_within(steps: Sequence[Entry], window: DateWindow, series: Series) -> list[Entry]:
    first_key, end_key = key_range(window, series.inputs)
    return [entry for entry in steps if first_key <= entry.key < end_key]
