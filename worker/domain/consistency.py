"""The laws that connect stored documents, and the likely cause of each difference.

Each day that is stored according to the registry must have a document.

Six laws of energy hold for consumption and for production. No two steps overlap in time. The steps of an hour add up to
the hour. The curve of a day without gaps adds up to the day's value, to the watt-hour. The days of a month add up to
the month, and the days of a year to the year. No day or step is more than a meter can deliver. The recordings of real
meters satisfy all six laws (tests/integration/test_real_recordings.py).

Registers and daily values are counted by the same meter, so the energies of a day's tariff periods add up to the day's
value, to the watt-hour. Apparent power (VA) is never below active power (W), and a day's maximum power is never below
the mean power of a step. So if a step is above the day's maximum power, one of the two is wrong. The public recordings
satisfy both laws: the registers of two meters, and the only day that has both a maximum power and a curve
(tests/integration/test_recorded_registers.py).

Three differences are reported to the operator but are no faults, so nothing repairs them. One is a day whose value is
still provisional although it should be final. Another is a day whose registers and curve give different energies by
tariff period. The third is a *deviation* of gas: the sum of a month's days differs too much from the sum of its
published periods, which are a separate series. There is no exact law for these two sums, because the supplier rounds
each day's volume to whole m³, and may correct a period's volume when the period is published. So the two sums may
differ by one m³ of gas; a larger difference is reported with both sums.
Source: 35 months measured at one home (GRDF): the sums of 1 month were equal, the others differed by -10 to +12 kWh.
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
from worker.domain.prices import Colour
from worker.domain.prices.choices import Terms
from worker.domain.prices.energy import divide_steps, energies_by_day, energies_of_curve
from worker.domain.series import Direction, Doctype, Period, Series
from worker.domain.tariffs import DayEnergy
from worker.domain.totals import calendar_month, coefficients_of, months_of_intervals, subscribed_on, total_entries
from worker.domain.windows import ONE_DAY, civil_date, day_length, local_midnight, to_windows

PROVISIONAL: Final = "provisional"  # The status of a document, as the parsers translate it.
# In kWh per m³; used if neither the days nor the periods have a coefficient. In France it is about 10 to 12.
USUAL_COEFFICIENT: Final = Decimal("11.2")
_ONE_PERCENT: Final = 100
_ONE_VOLT_AMPERE: Final = 1000  # In mVA: the tolerance, because both powers are rounded to whole W or VA.
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
        """The cause in words. ``METER_REPLACED`` gets a "perhaps": without the meter's index it is only a guess."""
        return f"perhaps {self}" if self is Cause.METER_REPLACED else str(self)

    @property
    def repairable(self) -> bool:
        """Whether settling the stored readings and recomputing the totals repairs a difference with this cause."""
        return self in (Cause.OVERLAPPING_STEPS, Cause.STALE_TOTAL, Cause.MISSING_TOTAL, Cause.ORPHAN_TOTAL)


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A stored value that breaks a law.

    ``expected``: the value according to the law, for example the sum of the finer documents. ``stored``: the stored
    value. Both are amounts (millionths of the unit of ``load``), and None if there is no document. ``key``: the key of
    the document. For missing documents, ``key`` is the window of their days, such as "2024-07-01/2024-07-08"; the
    second day is excluded.
    ``series``: the series whose readings are added up or checked.
    """

    law: Law
    key: str
    expected: int | None
    stored: int | None
    cause: Cause
    series: Series


_LAWS: Final = {Period.HOUR: Law.HOUR, Period.MONTH: Law.MONTH, Period.YEAR: Law.YEAR}


def check_stored(series: Series, expected: Iterable[date], stored: Collection[date]) -> Iterator[Discrepancy]:
    """Yield each run of ``expected`` days without a document, oldest first.

    ``expected``: the days that are stored according to the registry. ``stored``: the days with a document. In a series
    of states, only a change has a row, and each row also counts for later days. So only days before the first row lack
    a document.
    """
    if stored and series.is_state:
        first = min(stored)
        expected, stored = [day for day in expected if day < first], ()
    for window in to_windows(day for day in expected if day not in stored):
        yield Discrepancy(Law.STORED, str(window), None, None, Cause.MISSING_DOCUMENTS, series)


def check_totals(inputs: Sequence[Entry], totals: Sequence[Entry], doctype: Doctype) -> Iterator[Discrepancy]:
    """Compare each stored hour with the sum of its steps, or each month or year with the sum of its days.

    Yields the differences in key order. ``inputs`` and ``totals`` must cover the same time.
    """
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
    """Return the amounts of the readings that are more than a meter can deliver (rule K7), by key.

    Only steps and the daily values of electricity are checked; for any other series, the result is empty.
    """
    if not (series.has_daily_limit or series.has_steps):
        return {}
    limits = ((entry, most_of(series, entry, limit_kwh, contracts)) for entry in readings)
    # A day computed from the curve isn't checked, because each of its steps is.
    return {entry.key: entry.amount for entry, limit in limits if entry.amount > limit and not entry.is_computed}


def most_of(series: Series, entry: Entry, limit_kwh: float, contracts: Sequence[Entry]) -> float:
    """Return the most that a meter can deliver in the time of a daily value or a step, in milliwatt-hours.

    For consumption, the limit is the energy at twice the day's subscribed power according to ``contracts`` (rows in key
    order). For production, or without a known contract, a day's limit is ``limit_kwh``, and a step's limit is what
    flows in the step if ``limit_kwh`` flows evenly in 12 hours.
    """
    minutes = length_of(entry)
    if contracts and series.description.direction is Direction.CONSUMPTION:
        day = civil_day_of(entry.key, series)
        # ``subscribed_on`` would use the first row for earlier days too, but another contract may have applied then.
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
    """Compare the sum of each day's steps with the sum of the steps that remain after overlaps are settled.

    Yields a difference for each day that has overlaps, oldest first. Billed periods, which may overlap too, belong to
    the day on which they begin.
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
    """Compare the curve of each complete day with the day's value; ``series``: the series of the curve.

    ``steps``: the steps of whole local days in key order; one more day at both ends helps to recognise a shifted curve.
    ``corrected``: days for which the supplier changed a value.
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
    """Compare the stored days that were computed from the curve with what the curve gives now.

    Yields the differences, oldest first. ``computed``: the days without gaps, as the curve gives them now; days with
    gaps are already in the day ledger. ``wanted``: the days that need a computed value, because the supplier will never
    send a daily value for them.
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
    """Return the cause if two values differ by about a factor of 2 or 1000, else None."""
    for cause, factor in ((Cause.FACTOR_OF_TWO, 2), (Cause.FACTOR_OF_THOUSAND, 1000)):
        if _is_near(value, factor * other) or _is_near(factor * value, other):
            return cause
    return None


def _cause_by_day(day: date, corrected: Collection[date]) -> Cause:
    """Return the likely cause of a difference from its day alone, because the two values show no cause."""
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
    """Return the series whose values a law compares with this series' readings; None if there is no such law."""
    return series.description.bounds or series.description.adds_up_to


def check_registers(
    series: Series, energies: Iterable[DayEnergy], days: Iterable[Entry], corrected: Collection[date] = ()
) -> Iterator[Discrepancy]:
    """Compare the sum of each day's tariff periods with the day's value, to the watt-hour.

    ``energies``: from ``tariffs.day_energies``, which leaves out days with a missing midnight or changed registers.
    ``days``: the daily values. Values computed from the curve are left out, because the curve's steps are rounded.
    ``corrected``: days for which the supplier changed a value.
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
    """Yield a difference for each maximum power whose instant lies on a local day other than its key."""
    for entry in peaks:
        at = (entry.details or {}).get("at")
        if at and civil_date(datetime.fromisoformat(at)).isoformat() != entry.key:
            yield Discrepancy(Law.PEAK_DAY, entry.key, None, None, Cause.OTHER_DAY, series)


def check_peaks(
    series: Series, peaks: Iterable[Entry], steps: Sequence[Entry], corrected: Collection[date] = ()
) -> Iterator[Discrepancy]:
    """Compare the maximum power of each day with the highest mean power of the day's steps, if there are any.

    A step that spans midnight is left out, because its highest power may have been reached on the next day.
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
    """Return the days that are still provisional although their month should be final, in the order of the rows.

    The values of a month become final by the day ``settles_on`` of the next month. If the series has no ``settles_on``,
    the list is empty.
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
    """The energy of a month according to two series that have the whole month, in mWh.

    ``daily``: the sum of the days. ``published``: the sum of the billed periods. ``allowed``: the allowed difference.
    """

    key: str
    daily: int
    published: int
    allowed: int

    @property
    def difference(self) -> int:
        return self.daily - self.published

    @property
    def agrees(self) -> bool:
        """Whether the two sums differ by at most the energy of one m³ of gas."""
        return abs(self.difference) <= self.allowed


def compare_months(
    daily: Iterable[Entry], published: Iterable[Entry], usual_coefficient: Decimal = USUAL_COEFFICIENT
) -> list[MonthComparison]:
    """Compare the calendar months that are complete in both series, the oldest first.

    ``daily``: rows of days. ``published``: rows of billed periods; a month is compared only if its periods cover
    exactly the calendar month. The allowed difference is the energy of one m³. It is computed with the highest
    coefficient of the month's days and periods; if they have none, with ``usual_coefficient``.
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
    """Return the months whose days and billed periods differ too much, oldest first."""
    return [month for month in compare_months(daily, published) if not month.agrees]


def find_differences(
    terms: Mapping[date, Terms], registers: Sequence[Entry], steps: Sequence[Entry], colours: Mapping[date, Colour]
) -> Iterator[date]:
    """Yield the days, known whole by registers and by curve, on which these two differ.

    They differ where a tariff period does by more than the steps at two changes of period hold: a meter's clock may be
    some minutes off. The steps at a change are those that it lies in, or between. Registers show whole Wh, so one Wh is
    no difference.
    """
    counted = energies_by_day(terms, (), registers, lambda _: (), {})
    compared = {day: one for day, one in terms.items() if day in counted}
    at_changes: defaultdict[date, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    for plan, step, parts, _ in divide_steps(compared, steps, colours):
        for change in (end for end in plan.ends if parts[0][2] <= end <= parts[-1][3]):
            at_changes[plan.day][change] = max(step.amount, at_changes[plan.day][change])
    for day, found in energies_of_curve(compared, steps, colours).items():
        held = sum(sorted(at_changes[day].values())[-2:]) + MILLIWATT_HOURS_PER_WH
        pairs = ((energy, found.by_period.get(name, 0)) for name, energy in counted[day].by_period.items())
        if found.known and not all(energy - held <= other <= energy + held for energy, other in pairs):
            yield day


def _is_near(value: int, reference: int) -> bool:
    """Return whether ``value`` differs from ``reference`` by at most one percent; False for a reference of 0."""
    return reference != 0 and abs(value - reference) * _ONE_PERCENT <= abs(reference)


def _steps_by_day(steps: Iterable[Entry]) -> dict[date, list[Entry]]:
    """Return the steps of a curve by the local day on which they start."""
    by_day: defaultdict[date, list[Entry]] = defaultdict(list)
    for entry in steps:
        by_day[civil_day(entry.key)].append(entry)
    return by_day
