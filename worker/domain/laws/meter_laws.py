"""The laws of what else a meter tells: its registers make the daily values, its maximum power is above all steps.

Registers and daily values are counted by the same meter, so the registers of a day's tariff periods add up to the
day's value to the watt-hour. Apparent power (VA) is never below active power (W), and the highest of a day never below
the mean of a step, so a step above the maximum power shows that one of the two is wrong. The public recordings satisfy
both laws: two meters' registers, and the one day of which a maximum power and a curve are recorded
(tests/integration/test_recorded_registers.py).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Final

from worker.domain.laws.conservation import Cause, Discrepancy, Law, is_near, steps_by_day
from worker.domain.measures.amounts import MILLIWATT_HOURS_PER_WH
from worker.domain.measures.documents import Entry
from worker.domain.measures.overlaps import interval_of, length_of
from worker.domain.measures.readings import ONE_DAY, civil_date, day_length, local_midnight
from worker.domain.measures.registers import DayEnergy
from worker.domain.measures.series import Series

_ONE_VOLT_AMPERE: Final = 1000  # In mVA. Both powers are rounded to whole watts and volt-amperes.
_ONE_HOUR_MINUTES: Final = 60


def compared_with(series: Series) -> Series | None:
    """Return the series with whose values a law compares these readings; None if there is no such law."""
    return series.description.bounds or series.description.adds_up_to


def check_registers(
    series: Series, energies: Iterable[DayEnergy], days: Iterable[Entry], corrected: Collection[date] = ()
) -> Iterator[Discrepancy]:
    """Compare the sum over the tariff periods of each day with the day's value, to the watt-hour.

    ``energies``: from ``registers.day_energies``, which has no day with a midnight missing or a new sequence of
    registers. ``days``: daily values. ``corrected``: days for which the supplier changed a value.
    """
    values = {date.fromisoformat(entry.key): entry.amount for entry in days}
    for energy in energies:
        counted = sum(energy.by_period.values()) if energy.by_period else energy.total
        expected, stored = counted * MILLIWATT_HOURS_PER_WH, values.get(energy.day)
        if stored is not None and stored != expected:
            cause = _cause_of_registers(energy.day, expected, values, corrected)
            yield Discrepancy(Law.REGISTERS, energy.day.isoformat(), expected, stored, cause, series)


def _cause_of_registers(day: date, expected: int, values: Mapping[date, int], corrected: Collection[date]) -> Cause:
    if expected and expected in (values.get(day - ONE_DAY), values.get(day + ONE_DAY)):
        return Cause.SHIFTED_DAY
    stored = values[day]
    if is_near(expected, 1000 * stored) or is_near(1000 * expected, stored):
        return Cause.FACTOR_OF_THOUSAND
    if is_near(expected, 2 * stored) or is_near(2 * expected, stored):
        return Cause.FACTOR_OF_TWO
    if day in corrected:
        return Cause.REPROCESSED
    return Cause.CLOCK_CHANGE if day_length(day) != timedelta(hours=24) else Cause.UNKNOWN


def check_peak_days(series: Series, peaks: Iterable[Entry]) -> Iterator[Discrepancy]:
    """Yield the maximum powers whose instant is of another civil day than their own: a day has one maximum power."""
    for entry in peaks:
        at = (entry.details or {}).get("at")
        if at and civil_date(datetime.fromisoformat(at)).isoformat() != entry.key:
            yield Discrepancy(Law.PEAK_DAY, entry.key, None, None, Cause.OTHER_DAY, series)


def check_peaks(
    series: Series, peaks: Iterable[Entry], steps: Sequence[Entry], corrected: Collection[date] = ()
) -> Iterator[Discrepancy]:
    """Compare the maximum power of each day with the highest mean power of a step, where the day has a step.

    A step that reaches over midnight is left out: its maximum power may be the next day's.
    """
    curve = steps_by_day(steps)
    for entry in peaks:
        day = date.fromisoformat(entry.key)
        midnight = int(local_midnight(day + ONE_DAY).timestamp()) // _ONE_HOUR_MINUTES
        within = [step for step in curve.get(day, ()) if interval_of(step).end <= midnight]
        mean = max((step.amount * _ONE_HOUR_MINUTES // length_of(step) for step in within), default=0)
        if mean > entry.amount + _ONE_VOLT_AMPERE:
            if is_near(mean, 1000 * entry.amount):
                cause = Cause.FACTOR_OF_THOUSAND
            else:
                cause = Cause.REPROCESSED if day in corrected else Cause.UNKNOWN
            yield Discrepancy(Law.PEAK, entry.key, mean, entry.amount, cause, series)
