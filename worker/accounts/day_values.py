"""What is stored of one civil day, series by series, and whether it agrees with its totals and the other series."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

from worker.domain.completeness import (
    civil_day,
    covered_time_by_day,
    find_gaps,
    half_hours_in,
    half_hours_of,
    interval_days,
)
from worker.domain.consistency import (
    Discrepancy,
    MonthComparison,
    check_days,
    check_peak_days,
    check_peaks,
    check_registers,
    check_totals,
    compare_months,
    compared_with,
)
from worker.domain.documents import ALL_KEYS, Entry, KeyRange, key_range, touched_window
from worker.domain.series import Doctype, Granularity, Series
from worker.domain.tariffs import DayEnergy, SequenceBreak, day_energies, find_breaks
from worker.domain.totals import Peak, state_on, to_peaks
from worker.domain.windows import ONE_DAY, DateWindow

EntriesByDoctype = Mapping[Doctype, Sequence[Entry]]


@dataclass(frozen=True, slots=True)
class StoredDay:
    """What is stored of a day of a series; ``amount`` as in ``documents.Entry``, None if nothing is stored.

    ``amount`` is the day's energy, the maximum power, the index at the midnight that begins the day, or the subscribed
    power in force, or the energy of the period that holds the day. ``half_hours``: how many a curve covers; a value of
    a whole day covers it all. ``gaps``: start and end of the parts of the day without a curve. The other fields are of
    one kind of series each: ``registers`` is the energy by tariff period, ``breaks`` where that has none because a new
    sequence of registers begins, ``peak`` the maximum power against the subscribed one, ``state`` the row in force,
    ``gas`` the day or the period with what its energy was converted from.
    """

    amount: int | None
    half_hours: int = 0
    gaps: Sequence[tuple[datetime, datetime]] = ()
    registers: DayEnergy | None = None
    breaks: Sequence[SequenceBreak] = field(default=())
    peak: Peak | None = None
    state: Entry | None = None
    gas: Entry | None = None


def ranges_of_day(day: date, known: Iterable[Series]) -> dict[Doctype, KeyRange]:
    """Return what has to be read to explain a day of these series, with all that its totals are made of."""
    ranges: dict[Doctype, KeyRange] = {}
    for series in known:
        other = compared_with(series)
        for one in (series, other) if other else (series,):
            ranges |= {doctype: _range_of(day, one, doctype) for doctype in one.doctypes}
    return ranges


def _range_of(day: date, series: Series, doctype: Doctype) -> KeyRange:
    window = DateWindow(day, day + ONE_DAY)
    if series.is_state or series.has_intervals:
        return ALL_KEYS  # A row for each change or period: the one of the day may have begun long before.
    if series.description.granularity is Granularity.REGISTER:
        window = DateWindow(day, day + 2 * ONE_DAY)
    elif series.has_steps and doctype is series.inputs:
        # The days before and after show whether the curve is shifted.
        window = DateWindow(day - ONE_DAY, day + 2 * ONE_DAY)
    elif not series.has_steps:
        window = touched_window(window, series)
    return key_range(window, doctype)


def stored_of(series: Series, day: date, entries: EntriesByDoctype) -> StoredDay:
    """Return what is stored of the day; ``entries``: of ``ranges_of_day``, in key order."""
    rows = entries[series.inputs]
    if series.has_steps:
        steps = [entry for entry in rows if civil_day(entry.key) == day]
        covered = covered_time_by_day(series, steps).get(day, timedelta())
        energy = sum(entry.amount for entry in steps) if steps else None
        return StoredDay(energy, half_hours_in(covered), find_gaps(day, steps))
    of_day = next((entry for entry in rows if entry.key == day.isoformat()), None)
    amount, half_hours = (of_day.amount, half_hours_of(day)) if of_day else (None, 0)
    match series.description.granularity:
        case Granularity.STATE:
            state = state_on(day, rows)
            return StoredDay(state.amount if state else None, state=state)
        case Granularity.REGISTER:
            energy_of_day = next((energy for energy in day_energies(rows) if energy.day == day), None)
            return StoredDay(amount, half_hours, registers=energy_of_day, breaks=list(find_breaks(rows)))
        case Granularity.INTERVAL:
            period = period_of(day, rows)
            covered_half_hours = half_hours_of(day) if period else 0
            return StoredDay(period.amount if period else None, covered_half_hours, gas=period)
        case Granularity.INSTANT:
            contracts = [entry for doctype, states in entries.items() if doctype.series.is_state for entry in states]
            peak = next(iter(to_peaks([of_day], contracts)), None) if of_day else None
            return StoredDay(amount, half_hours, peak=peak)
        case _:
            return StoredDay(amount, half_hours, gas=of_day if of_day and of_day.details else None)


def period_of(day: date, rows: Iterable[Entry]) -> Entry | None:
    """Return the stored period that holds a day; None where there is none."""
    return next((row for row in rows if interval_days(row).start <= day < interval_days(row).end), None)


def compare_month(day: date, known: Iterable[Series], entries: EntriesByDoctype) -> MonthComparison | None:
    """Compare the days of the day's month with what was published for it; None where one of the two is not whole."""
    daily = next((series for series in known if series.is_daily_energy), None)
    published = next((series for series in known if series.has_intervals), None)
    if daily is None or published is None:
        return None
    month = day.isoformat()[:7]
    days = [entry for entry in entries[daily.inputs] if entry.key.startswith(month)]
    return next((one for one in compare_months(days, entries[published.inputs]) if one.key == month), None)


def find_discrepancies(
    day: date, known: Sequence[Series], entries: EntriesByDoctype, corrected: bool
) -> list[Discrepancy] | None:
    """Return where the day's documents disagree; None if nothing of the day is stored that could be compared."""
    comparable = [series for series in known if series.totals or compared_with(series)]
    if all(stored_of(series, day, entries).amount is None for series in comparable):
        return None
    corrected_days = {day} if corrected else set()
    between = [finding for series in comparable for finding in _between(series, day, entries, corrected_days)]
    hours_first = sorted(comparable, key=lambda series: not series.has_steps)
    return between + [finding for series in hours_first for finding in _in_totals(series, day, entries)]


def _between(series: Series, day: date, entries: EntriesByDoctype, corrected: set[date]) -> list[Discrepancy]:
    rows, other = entries[series.inputs], compared_with(series)
    if other is None:
        return []
    others = entries[other.inputs]
    if series.has_steps:
        return list(check_days(series, rows, _of_day(others, day), corrected))
    if series.description.granularity is Granularity.REGISTER:
        energies = [energy for energy in day_energies(rows) if energy.day == day]
        return list(check_registers(series, energies, others, corrected))
    peaks = _of_day(rows, day)
    return [*check_peak_days(series, peaks), *check_peaks(series, peaks, others, corrected)]


def _in_totals(series: Series, day: date, entries: EntriesByDoctype) -> list[Discrepancy]:
    """Return the totals of the day's steps, or the month and the year of the day, that disagree with their readings."""
    discrepancies: list[Discrepancy] = []
    for doctype in series.totals:
        if series.has_steps:
            steps = [entry for entry in entries[series.inputs] if civil_day(entry.key) == day]
            discrepancies += check_totals(steps, entries[doctype], doctype)
            continue
        first_key, end_key = key_range(DateWindow(day, day + ONE_DAY), doctype)
        days = [entry for entry in entries[series.inputs] if first_key <= entry.key[: len(first_key)] < end_key]
        totals = [entry for entry in entries[doctype] if first_key <= entry.key < end_key]
        discrepancies += check_totals(days, totals, doctype)
    return discrepancies


def _of_day(rows: Iterable[Entry], day: date) -> list[Entry]:
    return [entry for entry in rows if entry.key == day.isoformat()]
