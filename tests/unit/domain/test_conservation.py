"""Checks of stored documents: those that agree have no discrepancy, each other one has its likely cause."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import pytest
from hypothesis import given

from tests.support.factories import curve_of, v5_answer
from tests.support.plain_readings import to_entries
from tests.support.strategies import curve_days, several
from worker.domain.completeness import civil_day
from worker.domain.consistency import Cause, Discrepancy, Law, check_days, check_totals
from worker.domain.documents import Entry, round_as_stored
from worker.domain.parsing.electricity import parse_load_curve
from worker.domain.series import Doctype, Series
from worker.domain.totals import total_entries
from worker.domain.windows import ONE_DAY

DAY = date(2024, 7, 10)


def steps_of(*days: date, minutes: int = 30) -> list[Entry]:
    """Return the curves of the days, in which all steps differ."""
    rows = [row for number, day in enumerate(days) for row in curve_of(day, 150 + 97 * number, minutes)]
    return to_entries(parse_load_curve(v5_answer(rows)).readings, Doctype.MINUTE)


STEPS = steps_of(DAY - ONE_DAY, DAY, DAY + ONE_DAY)
OF_DAY = [entry for entry in STEPS if civil_day(entry.key) == DAY]
ENERGY = sum(entry.amount for entry in OF_DAY)


def day_entry(milliwatt_hours: int) -> list[Entry]:
    return [Entry(DAY.isoformat(), milliwatt_hours)]


@several
@given(curve_days())
def test_a_curve_and_its_own_hours_and_day_agree_whatever_the_steps(drawn) -> None:  # type: ignore[no-untyped-def]
    day, rows = drawn
    steps = to_entries(parse_load_curve(v5_answer(rows)).readings, Doctype.MINUTE)
    hours = [
        Entry(key, round_as_stored(sum_, Doctype.HOUR)) for key, sum_ in total_entries(steps, Doctype.HOUR).items()
    ]
    value = round_as_stored(sum(entry.amount for entry in steps), Doctype.DAY)
    assert list(check_totals(steps, hours, Doctype.HOUR)) == []
    assert list(check_days(Series.LOAD_CURVE, steps, [Entry(day.isoformat(), value)])) == []


def scaled(steps: list[Entry], factor: Callable[[int], int]) -> list[Entry]:
    return [entry._replace(amount=factor(entry.amount)) for entry in steps]


@pytest.mark.parametrize(
    "steps, value, cause",
    [
        (
            scaled(STEPS, lambda mwh: 2 * mwh),
            ENERGY,
            Cause.WATTS_AS_ENERGY,
        ),  # Half-hours.
        (scaled(STEPS, lambda mwh: mwh // 2), ENERGY, Cause.FACTOR_OF_TWO),
        (STEPS, ENERGY - OF_DAY[0].amount + STEPS[96].amount, Cause.SHIFTED),
        (STEPS, ENERGY - OF_DAY[-1].amount + STEPS[47].amount, Cause.SHIFTED),
        (scaled(STEPS, lambda mwh: mwh * 1000), ENERGY, Cause.FACTOR_OF_THOUSAND),
        (STEPS, ENERGY * 1000, Cause.FACTOR_OF_THOUSAND),
        (STEPS, ENERGY // 25, Cause.METER_REPLACED),
        (STEPS, 0, Cause.UNKNOWN),
        (STEPS, ENERGY + 317_000, Cause.UNKNOWN),
    ],
)
def test_a_curve_that_does_not_make_its_day_is_found_with_its_cause(
    steps: list[Entry], value: int, cause: Cause
) -> None:
    energy = sum(entry.amount for entry in steps if civil_day(entry.key) == DAY)
    assert list(check_days(Series.LOAD_CURVE, steps, day_entry(value))) == [
        Discrepancy(Law.DAY, DAY.isoformat(), energy, value, cause, Series.LOAD_CURVE)
    ]


def test_that_the_meter_was_replaced_is_told_as_a_guess() -> None:
    assert Cause.METER_REPLACED.told == "perhaps the meter was replaced on that day"
    assert Cause.SHIFTED.told == "the curve is shifted by one step"


def test_power_in_steps_of_ten_minutes_taken_for_energy_is_six_times_too_much() -> None:
    steps = scaled(steps_of(DAY, minutes=10), lambda mwh: 6 * mwh)
    value = sum(entry.amount for entry in steps) // 6
    assert [discrepancy.cause for discrepancy in check_days(Series.LOAD_CURVE, steps, day_entry(value))] == [
        Cause.WATTS_AS_ENERGY
    ]


def test_a_value_that_the_supplier_corrected_is_told_as_such() -> None:
    (discrepancy,) = check_days(Series.LOAD_CURVE, STEPS, day_entry(ENERGY + 317_000), {DAY})
    assert discrepancy.cause is Cause.REPROCESSED


def test_a_difference_on_the_day_of_a_clock_change_is_laid_to_it() -> None:
    day = date(2024, 10, 27)
    steps = steps_of(day)
    energy = sum(entry.amount for entry in steps)
    (discrepancy,) = check_days(Series.LOAD_CURVE, steps, [Entry(day.isoformat(), energy - 411_000)])
    assert discrepancy.cause is Cause.CLOCK_CHANGE


def test_a_gap_in_the_curve_is_no_difference() -> None:
    assert list(check_days(Series.LOAD_CURVE, [*OF_DAY[:10], *OF_DAY[11:]], day_entry(ENERGY))) == []
    assert list(check_days(Series.LOAD_CURVE, [], day_entry(ENERGY))) == []


def test_less_than_a_watt_hour_is_the_rounding_of_the_days_value() -> None:
    assert list(check_days(Series.LOAD_CURVE, OF_DAY, day_entry(round_as_stored(ENERGY, Doctype.DAY)))) == []


def test_totals_wrong_missing_or_without_readings_are_each_named() -> None:
    days = [Entry("2024-06-30", 5_000_000), Entry("2024-07-01", 6_000_000), Entry("2024-07-02", 7_000_000)]
    months = [Entry("2024-05", 1_000_000), Entry("2024-07", 12_000_000)]
    assert list(check_totals(days, months, Doctype.MONTH)) == [
        Discrepancy(Law.MONTH, "2024-05", None, 1_000_000, Cause.ORPHAN_TOTAL, Series.DAILY),
        Discrepancy(Law.MONTH, "2024-06", 5_000_000, None, Cause.MISSING_TOTAL, Series.DAILY),
        Discrepancy(Law.MONTH, "2024-07", 13_000_000, 12_000_000, Cause.STALE_TOTAL, Series.DAILY),
    ]
