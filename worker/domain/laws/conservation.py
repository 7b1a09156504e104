"""Checks that the stored documents agree with one another, each difference with its likely cause.

Six laws of energy, for consumption and production each: no two steps overlap in time, the steps of an hour add up to
the hour, the curve of a complete day to the day's value (to the watt-hour), the days of a month to the month, the days
of a year to the year, and no day is more than a meter can deliver. The law of the day does not apply to a day with a
gap in its curve. The recordings of real meters satisfy all six (tests/integration/test_real_recordings.py). Before them
comes what makes documents worth comparing: the days that the registry calls stored are there. The laws of registers
and of the maximum power are in ``meter_laws.py``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Final

from worker.domain.measures.aggregation import total_entries
from worker.domain.measures.completeness import civil_day, civil_day_of, covered_time_by_day
from worker.domain.measures.documents import USUAL_STEP_MINUTES, Document, Entry, round_as_stored, to_entry
from worker.domain.measures.overlaps import find_replaced
from worker.domain.measures.readings import ONE_DAY, day_length
from worker.domain.measures.series import Doctype, Period, Series
from worker.domain.measures.windows import to_windows

# What a meter of 36 kVA, the largest that a home may have, delivers in the longest day, of 25 hours (rule K7).
DAILY_LIMIT_KWH: Final = 900.0
_MILLIWATT_HOURS_PER_KWH: Final = 1_000_000
_ONE_WATT_HOUR: Final = 1000  # In milliwatt-hours: the resolution of daily values.
_ONE_PERCENT: Final = 100


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
    def repairable(self) -> bool:
        """Whether settling stored readings and computing totals again repairs it. Others need a new request, if any."""
        return self in (Cause.OVERLAPPING_STEPS, Cause.STALE_TOTAL, Cause.MISSING_TOTAL)


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """A stored value that breaks a law.

    ``expected``: the sum of the finer documents, ``stored``: the stored value, both as amounts (millionths of the unit
    of ``load``) and None if there is no document. ``key`` is the document's; of missing documents it is the days,
    "2024-07-01/2024-07-08" without the last one. ``series``: the one whose readings are added up or looked at.
    """

    law: Law
    key: str
    expected: int | None
    stored: int | None
    cause: Cause
    series: Series


_LAWS: Final = {Period.HOUR: Law.HOUR, Period.MONTH: Law.MONTH, Period.YEAR: Law.YEAR}


def check_totals(inputs: Sequence[Entry], totals: Sequence[Entry], doctype: Doctype) -> Iterator[Discrepancy]:
    """Compare hours with their steps, months or years with their days; both of the same time. Yields in key order."""
    sums = {key: round_as_stored(energy, doctype) for key, energy in total_entries(inputs, doctype).items()}
    energies = {entry.key: entry.amount for entry in totals}
    for key in sorted(sums.keys() | energies.keys()):
        expected, stored = sums.get(key), energies.get(key)
        if expected != stored:
            cause = _cause_of_total(expected, stored)
            yield Discrepancy(_LAWS[doctype.period], key, expected, stored, cause, doctype.series)


def check_stored(series: Series, expected: Iterable[date], stored: Collection[date]) -> Iterator[Discrepancy]:
    """Yield each run of days that the registry calls stored and that have no document, the oldest first.

    Of a series of states, which has a row for each change, any row from before a day on is that day's document.
    """
    if stored and series.is_state:
        first = min(stored)
        expected, stored = [day for day in expected if day < first], ()
    for window in to_windows(day for day in expected if day not in stored):
        yield Discrepancy(Law.STORED, str(window), None, None, Cause.MISSING_DOCUMENTS, series)


def beyond(days: Iterable[Entry], limit_kwh: float) -> dict[str, int]:
    """Return the daily values in milliwatt-hours, by day, that are more than a meter can deliver."""
    limit = limit_kwh * _MILLIWATT_HOURS_PER_KWH
    return {entry.key: entry.amount for entry in days if entry.amount > limit}


def check_limit(
    series: Series, days: Sequence[Entry], set_aside: Iterable[date], limit_kwh: float
) -> Iterator[Discrepancy]:
    """Yield the stored days that are more than a meter can deliver, and those of which such a value was set aside."""
    limit = round(limit_kwh * _MILLIWATT_HOURS_PER_KWH)
    for day, stored in beyond(days, limit_kwh).items():
        yield Discrepancy(Law.LIMIT, day, limit, stored, Cause.BEYOND_LIMIT, series)
    for missing in set_aside:
        yield Discrepancy(Law.LIMIT, missing.isoformat(), limit, None, Cause.SET_ASIDE, series)


def check_overlaps(series: Series, documents: Sequence[Document]) -> Iterator[Discrepancy]:
    """Compare the steps of each day with those that hold where some overlap; yields in the order of days.

    Of periods, those that begin on a day.
    """
    gone = {entry.key for entry in find_replaced(documents)}
    for day in sorted({civil_day_of(key, series) for key in gone}):
        steps = [entry for entry in map(to_entry, documents) if civil_day_of(entry.key, series) == day]
        stored = sum(entry.amount for entry in steps)
        expected = sum(entry.amount for entry in steps if entry.key not in gone)
        yield Discrepancy(Law.STEPS, day.isoformat(), expected, stored, Cause.OVERLAPPING_STEPS, series)


def _cause_of_total(expected: int | None, stored: int | None) -> Cause:
    if stored is None:
        return Cause.MISSING_TOTAL
    return Cause.ORPHAN_TOTAL if expected is None else Cause.STALE_TOTAL


def check_days(
    series: Series, steps: Sequence[Entry], days: Sequence[Entry], corrected: Collection[date] = ()
) -> Iterator[Discrepancy]:
    """Compare the curve of each complete day with the day's value; ``series``: the curve's.

    ``steps``: in key order, of whole civil days, best with one day more at both ends. ``corrected``: days for which the
    supplier changed a value.
    """
    curve = steps_by_day(steps)
    covered = covered_time_by_day(series, steps)
    for entry in sorted(days):
        day = date.fromisoformat(entry.key)
        if covered.get(day) != day_length(day):
            continue  # The curve has a gap or is missing, which the ledger of days records.
        energy = sum(step.amount for step in curve[day])
        if abs(energy - entry.amount) >= _ONE_WATT_HOUR:
            cause = _cause_of_day(day, curve, energy, entry.amount, corrected)
            yield Discrepancy(Law.DAY, entry.key, energy, entry.amount, cause, series)


def _cause_of_day(
    day: date, curve: Mapping[date, Sequence[Entry]], energy: int, value: int, corrected: Collection[date]
) -> Cause:
    if _is_shifted(day, curve, energy, value):
        return Cause.SHIFTED
    steps = {entry.step or USUAL_STEP_MINUTES for entry in curve[day]}
    if any(minutes < 60 and is_near(energy * minutes, value * 60) for minutes in steps):
        return Cause.WATTS_AS_ENERGY
    if is_near(energy, 2 * value) or is_near(2 * energy, value):
        return Cause.FACTOR_OF_TWO
    if is_near(energy, 1000 * value) or is_near(1000 * energy, value):
        return Cause.FACTOR_OF_THOUSAND
    if 2 * value < energy:
        return Cause.METER_REPLACED  # The new meter has counted since its installation only.
    if day in corrected:
        return Cause.REPROCESSED
    return Cause.CLOCK_CHANGE if day_length(day) != timedelta(hours=24) else Cause.UNKNOWN


def _is_shifted(day: date, curve: Mapping[date, Sequence[Entry]], energy: int, value: int) -> bool:
    """Return whether the curve adds up to the day's value when it is read one step earlier or later."""
    steps, steps_before, steps_after = curve[day], curve.get(day - ONE_DAY), curve.get(day + ONE_DAY)
    later = energy - steps[0].amount + steps_after[0].amount if steps_after else None
    earlier = energy - steps[-1].amount + steps_before[-1].amount if steps_before else None
    return any(total is not None and abs(total - value) < _ONE_WATT_HOUR for total in (later, earlier))


def is_near(value: int, reference: int) -> bool:
    """Return whether two values are equal to one percent; two zeros prove nothing."""
    return reference != 0 and abs(value - reference) * _ONE_PERCENT <= abs(reference)


def steps_by_day(steps: Iterable[Entry]) -> dict[date, list[Entry]]:
    """Return the steps of a curve by the civil day in which they start."""
    by_day: defaultdict[date, list[Entry]] = defaultdict(list)
    for entry in steps:
        by_day[civil_day(entry.key)].append(entry)
    return by_day
