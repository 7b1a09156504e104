"""The laws that connect stored documents, and the likely cause of each difference.

First of all, the days that are stored according to the registry must have documents.

Six laws of energy, for consumption and production each: no two steps overlap in time, the steps of an hour add up to
the hour, the curve of a complete day to the day's value (to the watt-hour), the days of a month to the month, the days
of a year to the year, and no day or step is more than a meter can deliver. The law of the day doesn't apply to a day
with a gap in its curve. The recordings of real meters satisfy all six (tests/integration/test_real_recordings.py).

Registers and daily values are counted by the same meter, so the registers of a day's tariff periods add up to the day's
value to the watt-hour. Apparent power (VA) is never below active power (W), and a day's maximum is never below the mean
of a step, so if a step is above the maximum power, one of the two is wrong. The public recordings satisfy both laws:
two meters' registers, and the only day with a recorded maximum power and curve
(tests/integration/test_recorded_registers.py).

Two differences are reported to the operator but are no faults, so nothing repairs them: days whose value is still
provisional although it should be final, and *deviations* of gas, that is months whose days and published periods (two
separate series) differ too much. A supplier of gas rounds each day's volume to whole m³ and corrects a period when it
publishes it, so there is no exact law as between a curve and its days. A month may differ by one m³ of gas; a larger
difference is reported with both numbers.
Source: measured on one home of 35 months (GRDF): 1 month equal, the others off by -10 to +12 kWh.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Final

from worker.domain.completeness import civil_day, civil_day_of, covered_time_by_day
from worker.domain.documents import (
    MILLIWATT_HOURS_PER_KWH,
    MILLIWATT_HOURS_PER_WH,
    USUAL_STEP_MINUTES,
    Document,
    Entry,
    find_replaced,
    interval_of,
    length_of,
    round_as_stored,
    to_entry,
)
from worker.domain.series import Direction, Doctype, Period, Series
from worker.domain.tariffs import DayEnergy
from worker.domain.totals import calendar_month, coefficients_of, months_of_intervals, subscribed_on, total_entries
from worker.domain.windows import ONE_DAY, civil_date, day_length, local_midnight, to_windows

PROVISIONAL: Final = "provisional"  # The status of a document, as the parsers translate it.
# In kWh per m³, if neither the days nor the periods have one. France has about 10 to 12.
USUAL_COEFFICIENT: Final = Decimal("11.2")
_ONE_PERCENT: Final = 100
_ONE_VOLT_AMPERE: Final = 1000  # In mVA. Both powers are rounded to whole watts and volt-amperes.
_ONE_HOUR_MINUTES: Final = 60


class Law(StrEnum):
    """Laws that the stored documents must satisfy."""

    STORED = "a series is stored according to the registry"
    STEPS = "no two steps overlap"
    HOUR = "minutes make the hour"
    DAY = "the curve makes the day"
    MONTH = "days make the month"
    YEAR = "days make the year"
    LIMIT = "a day is what a meter can deliver"
    REGISTERS = "the tariff periods make the day"
    PEAK = "no step is above the maximum power"
    PEAK_DAY = "the maximum power is of its day"


class Cause(StrEnum):
    """Likely causes of a difference."""

    MISSING_DOCUMENTS = "missing in the measures"
    OVERLAPPING_STEPS = "overlapping steps"
    STALE_TOTAL = "the total is stale"
    MISSING_TOTAL = "the total is missing"
    ORPHAN_TOTAL = "a total without its readings"
    WATTS_AS_ENERGY = "power was taken for energy"
    FACTOR_OF_TWO = "a factor of two"
    SHIFTED = "the curve is shifted by one step"
    SHIFTED_DAY = "the registers are shifted by one day"
    OTHER_DAY = "its instant is of another day"
    CLOCK_CHANGE = "the clock change"
    REPROCESSED = "one of the two was corrected by the supplier, the other not"
    FACTOR_OF_THOUSAND = "a factor of 1000"
    METER_REPLACED = "the meter was replaced on that day"
    BEYOND_LIMIT = "more than a meter can deliver"
    SET_ASIDE = "the supplier sent more than a meter can deliver, which was not stored"
    UNKNOWN = "not known"

    @property
    def told(self) -> str:
        """The cause in words; a replaced meter is only a guess, because the meter's index is unknown."""
        return f"perhaps {self}" if self is Cause.METER_REPLACED else str(self)

    @property
    def repairable(self) -> bool:
        """Whether settling stored readings and recomputing totals repairs it; others need a new request, if any."""
        return self in (Cause.OVERLAPPING_STEPS, Cause.STALE_TOTAL, Cause.MISSING_TOTAL, Cause.ORPHAN_TOTAL)


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A stored value that breaks a law.

    ``expected``: the sum of the finer documents, ``stored``: the stored value, both as amounts (millionths of the unit
    of ``load``) and None if there is no document. ``key`` is the document's; for missing documents it is their days,
    "2024-07-01/2024-07-08" without the last one. ``series``: the one whose readings are added up or checked.
    """

    law: Law
    key: str
    expected: int | None
    stored: int | None
    cause: Cause
    series: Series


_LAWS: Final = {Period.HOUR: Law.HOUR, Period.MONTH: Law.MONTH, Period.YEAR: Law.YEAR}


def check_stored(series: Series, expected: Iterable[date], stored: Collection[date]) -> Iterator[Discrepancy]:
    """Yield each run of days that are stored according to the registry but have no document, the oldest first.

    In a series of states, which has a row for each change, a day's document is any row of that day or earlier.
    """
    if stored and series.is_state:
        first = min(stored)
        expected, stored = [day for day in expected if day < first], ()
    for window in to_windows(day for day in expected if day not in stored):
        yield Discrepancy(Law.STORED, str(window), None, None, Cause.MISSING_DOCUMENTS, series)


def check_totals(inputs: Sequence[Entry], totals: Sequence[Entry], doctype: Doctype) -> Iterator[Discrepancy]:
    """Compare hours with their steps, or months or years with their days, of the same time. Yields in key order."""
    sums = {key: round_as_stored(energy, doctype) for key, energy in total_entries(inputs, doctype).items()}
    energies = {entry.key: entry.amount for entry in totals}
    for key in sorted(sums.keys() | energies.keys()):
        expected, stored = sums.get(key), energies.get(key)
        if expected != stored:
            cause = _cause_of_total(expected, stored)
            yield Discrepancy(_LAWS[doctype.period], key, expected, stored, cause, doctype.series)


def _cause_of_total(expected: int | None, stored: int | None) -> Cause:
    if stored is None:
        return Cause.MISSING_TOTAL
    return Cause.ORPHAN_TOTAL if expected is None else Cause.STALE_TOTAL


def beyond(
    series: Series, readings: Iterable[Entry], limit_kwh: float, contracts: Sequence[Entry] = ()
) -> dict[str, int]:
    """Return the amounts of daily values or steps, by key, that are more than a meter can deliver (rule K7)."""
    if not (series.has_daily_limit or series.has_steps):
        return {}
    limits = ((entry, most_of(series, entry, limit_kwh, contracts)) for entry in readings)
    # A computed day is the sum of its steps, each of which has its own limit.
    return {entry.key: entry.amount for entry, limit in limits if entry.amount > limit and not entry.is_computed}


def most_of(series: Series, entry: Entry, limit_kwh: float, contracts: Sequence[Entry]) -> float:
    """Return the most that a meter can deliver in the time of a daily value or a step, in milliwatt-hours.

    For consumption it is twice the subscribed power of the day, according to ``contracts`` (rows in key order). For
    others it is ``limit_kwh`` per day, and for a step the mean power that reaches it in half a day.
    """
    minutes = length_of(entry)
    if contracts and series.description.direction is Direction.CONSUMPTION:
        day = civil_day_of(entry.key, series)
        # Before the first row another contract may have applied.
        if power := subscribed_on(day, [row for row in contracts if row.key <= day.isoformat()]):
            time = timedelta(minutes=minutes) if series.has_steps else day_length(day)
            return 2 * power * (time / timedelta(hours=1))
    limit = limit_kwh * MILLIWATT_HOURS_PER_KWH
    return limit * minutes / (12 * _ONE_HOUR_MINUTES) if series.has_steps else limit


def check_limit(
    series: Series, readings: Sequence[Entry], set_aside: Iterable[date], limit_kwh: float, contracts: Sequence[Entry]
) -> Iterator[Discrepancy]:
    """Yield the stored readings above what a meter can deliver, and the days with a reading that was set aside."""
    impossible = beyond(series, readings, limit_kwh, contracts)
    for entry in readings:
        if entry.key in impossible:
            limit = round(most_of(series, entry, limit_kwh, contracts))
            yield Discrepancy(Law.LIMIT, entry.key, limit, entry.amount, Cause.BEYOND_LIMIT, series)
    for day in map(date.isoformat, set_aside):
        most = None if series.has_steps else round(most_of(series, Entry(day, 0), limit_kwh, contracts))
        yield Discrepancy(Law.LIMIT, day, most, None, Cause.SET_ASIDE, series)


def check_overlaps(series: Series, documents: Sequence[Document]) -> Iterator[Discrepancy]:
    """Compare the steps of each day with those that remain after overlaps are settled; yields in the order of days.

    Periods belong to the day on which they begin.
    """
    gone = {entry.key for entry in find_replaced(documents)}
    for day in sorted({civil_day_of(key, series) for key in gone}):
        steps = [entry for entry in map(to_entry, documents) if civil_day_of(entry.key, series) == day]
        stored = sum(entry.amount for entry in steps)
        expected = sum(entry.amount for entry in steps if entry.key not in gone)
        yield Discrepancy(Law.STEPS, day.isoformat(), expected, stored, Cause.OVERLAPPING_STEPS, series)


def check_days(
    series: Series, steps: Sequence[Entry], days: Sequence[Entry], corrected: Collection[date] = ()
) -> Iterator[Discrepancy]:
    """Compare the curve of each complete day with the day's value; ``series``: the curve's.

    ``steps``: in key order, of whole local days, ideally with one more day at both ends. ``corrected``: days for which
    the supplier changed a value.
    """
    curve = _steps_by_day(steps)
    covered = covered_time_by_day(series, steps)
    for entry in sorted(days):
        day = date.fromisoformat(entry.key)
        if entry.is_computed or covered.get(day) != day_length(day):
            continue  # The day was computed from the curve, or the curve has a gap, which the ledger of days records.
        energy = sum(step.amount for step in curve[day])
        if abs(energy - entry.amount) >= MILLIWATT_HOURS_PER_WH:  # The resolution of daily values.
            cause = _cause_of_day(day, curve, energy, entry.amount, corrected)
            yield Discrepancy(Law.DAY, entry.key, energy, entry.amount, cause, series)


def check_computed(
    daily: Series, computed: Mapping[date, Entry], wanted: Collection[date], days: Iterable[Entry]
) -> Iterator[Discrepancy]:
    """Compare the stored days that were computed from the curve with the curve; yields in the order of days.

    ``computed``: only the days that the curve covers completely, because the ledger of days records gaps. ``wanted``:
    those for which no daily value can come.
    """
    stored = {date.fromisoformat(entry.key): entry for entry in days}
    for day, made in sorted(computed.items()):
        known = stored.get(day)
        amount = known and known.amount
        if made.amount != amount and (known.is_computed if known else day in wanted):
            yield Discrepancy(Law.DAY, str(day), made.amount, amount, _cause_of_total(made.amount, amount), daily)


def _cause_of_day(
    day: date, curve: Mapping[date, Sequence[Entry]], energy: int, value: int, corrected: Collection[date]
) -> Cause:
    if _is_shifted(day, curve, energy, value):
        return Cause.SHIFTED
    steps = {entry.step or USUAL_STEP_MINUTES for entry in curve[day]}
    if any(minutes < 60 and _is_near(energy * minutes, value * 60) for minutes in steps):
        return Cause.WATTS_AS_ENERGY
    if factor := _factor_between(energy, value):
        return factor
    if 0 < 2 * value < energy:
        return Cause.METER_REPLACED  # The new meter has counted only since its installation.
    return _cause_by_day(day, corrected)


def _factor_between(value: int, other: int) -> Cause | None:
    """Return the usual factor by which two values differ, if any."""
    for cause, factor in ((Cause.FACTOR_OF_TWO, 2), (Cause.FACTOR_OF_THOUSAND, 1000)):
        if _is_near(value, factor * other) or _is_near(factor * value, other):
            return cause
    return None


def _cause_by_day(day: date, corrected: Collection[date]) -> Cause:
    """Return the cause of a difference that its values don't explain."""
    if day in corrected:
        return Cause.REPROCESSED
    return Cause.CLOCK_CHANGE if day_length(day) != timedelta(hours=24) else Cause.UNKNOWN


def _is_shifted(day: date, curve: Mapping[date, Sequence[Entry]], energy: int, value: int) -> bool:
    """Return whether the curve adds up to the day's value if shifted by one step."""
    steps, steps_before, steps_after = curve[day], curve.get(day - ONE_DAY), curve.get(day + ONE_DAY)
    later = energy - steps[0].amount + steps_after[0].amount if steps_after else None
    earlier = energy - steps[-1].amount + steps_before[-1].amount if steps_before else None
    return any(total is not None and abs(total - value) < MILLIWATT_HOURS_PER_WH for total in (later, earlier))


def compared_with(series: Series) -> Series | None:
    """Return the series whose values a law compares with these readings; None if there is no such law."""
    return series.description.bounds or series.description.adds_up_to


def check_registers(
    series: Series, energies: Iterable[DayEnergy], days: Iterable[Entry], corrected: Collection[date] = ()
) -> Iterator[Discrepancy]:
    """Compare the sum over the tariff periods of each day with the day's value, to the watt-hour.

    ``energies``: from ``tariffs.day_energies``, which has no day with a missing midnight or changed registers.
    ``days``: daily values; those computed from the curve are left out, because its steps are rounded. ``corrected``:
    days for which the supplier changed a value.
    """
    values = {date.fromisoformat(entry.key): entry.amount for entry in days if not entry.is_computed}
    for energy in energies:
        counted = sum(energy.by_period.values()) if energy.by_period else energy.total
        expected, stored = counted * MILLIWATT_HOURS_PER_WH, values.get(energy.day)
        if stored is not None and stored != expected:
            cause = _cause_of_registers(energy.day, expected, values, corrected)
            yield Discrepancy(Law.REGISTERS, energy.day.isoformat(), expected, stored, cause, series)


def _cause_of_registers(day: date, expected: int, values: Mapping[date, int], corrected: Collection[date]) -> Cause:
    if expected and expected in (values.get(day - ONE_DAY), values.get(day + ONE_DAY)):
        return Cause.SHIFTED_DAY
    return _factor_between(expected, values[day]) or _cause_by_day(day, corrected)


def check_peak_days(series: Series, peaks: Iterable[Entry]) -> Iterator[Discrepancy]:
    """Yield the maximum powers whose instant belongs to another local day than their key."""
    for entry in peaks:
        at = (entry.details or {}).get("at")
        if at and civil_date(datetime.fromisoformat(at)).isoformat() != entry.key:
            yield Discrepancy(Law.PEAK_DAY, entry.key, None, None, Cause.OTHER_DAY, series)


def check_peaks(
    series: Series, peaks: Iterable[Entry], steps: Sequence[Entry], corrected: Collection[date] = ()
) -> Iterator[Discrepancy]:
    """Compare the maximum power of each day with the highest mean power of its steps, if it has any.

    A step that spans midnight is left out, because its maximum power may be the next day's.
    """
    curve = _steps_by_day(steps)
    for entry in peaks:
        day = date.fromisoformat(entry.key)
        midnight = int(local_midnight(day + ONE_DAY).timestamp()) // _ONE_HOUR_MINUTES
        within = [step for step in curve.get(day, ()) if interval_of(step).end <= midnight]
        mean = max((step.amount * _ONE_HOUR_MINUTES // length_of(step) for step in within), default=0)
        if mean > entry.amount + _ONE_VOLT_AMPERE:
            if _is_near(mean, 1000 * entry.amount):
                cause = Cause.FACTOR_OF_THOUSAND
            else:
                cause = Cause.REPROCESSED if day in corrected else Cause.UNKNOWN
            yield Discrepancy(Law.PEAK, entry.key, mean, entry.amount, cause, series)


def overdue_days(series: Series, rows: Iterable[Entry], today: date) -> list[date]:
    """Return the provisional days of months whose values should be final by now, in the order of the rows.

    The values of a month become final by the day ``settles_on`` of the next one; a series without it has none.
    """
    settles_on = series.description.settles_on
    if settles_on is None:
        return []
    settled_before = today.replace(day=1)
    if today.day <= settles_on:
        settled_before = (settled_before - ONE_DAY).replace(day=1)
    provisional = (row for row in rows if (row.details or {}).get("status") == PROVISIONAL)
    return [day for day in (date.fromisoformat(row.key) for row in provisional) if day < settled_before]


@dataclass(frozen=True, slots=True)
class MonthComparison:
    """A month that is complete in both series, in amounts (mWh). ``allowed``: the allowed difference."""

    key: str
    daily: int
    published: int
    allowed: int

    @property
    def difference(self) -> int:
        """The sum of the days minus the published energy."""
        return self.daily - self.published

    @property
    def agrees(self) -> bool:
        """Whether they differ by at most one m³ of gas."""
        return abs(self.difference) <= self.allowed


def compare_months(
    daily: Iterable[Entry], published: Iterable[Entry], usual_coefficient: Decimal = USUAL_COEFFICIENT
) -> list[MonthComparison]:
    """Compare the calendar months that are complete in both series, the oldest first.

    ``daily``: rows of days. ``published``: rows of periods; a month isn't compared unless its periods cover exactly its
    days. The energy of one m³ is the highest coefficient of the month's days and periods, or ``usual_coefficient``.
    """
    days_by_month: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
    for entry in daily:
        days_by_month[entry.key[:7]][entry.key] = entry
    comparisons = []
    for month in months_of_intervals(published):
        days = days_by_month.get(month.key, {}).values()
        if month.is_whole and len(days) == calendar_month(month.key).days:
            told = [Decimal(str(one)) for one in (*month.coefficients, *coefficients_of(days))]
            allowed = int(max(told, default=usual_coefficient) * MILLIWATT_HOURS_PER_KWH)
            total = sum(entry.amount for entry in days)
            comparisons.append(MonthComparison(month.key, total, month.amount, allowed))
    return comparisons


def find_deviations(daily: Iterable[Entry], published: Iterable[Entry]) -> list[MonthComparison]:
    """Return the months that don't agree, the oldest first."""
    return [month for month in compare_months(daily, published) if not month.agrees]


def _is_near(value: int, reference: int) -> bool:
    """Return whether two values differ by at most one percent; two zeros prove nothing."""
    return reference != 0 and abs(value - reference) * _ONE_PERCENT <= abs(reference)


def _steps_by_day(steps: Iterable[Entry]) -> dict[date, list[Entry]]:
    """Return the steps of a curve by the local day in which they start."""
    by_day: defaultdict[date, list[Entry]] = defaultdict(list)
    for entry in steps:
        by_day[civil_day(entry.key)].append(entry)
    return by_day
