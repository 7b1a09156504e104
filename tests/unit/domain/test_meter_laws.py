"""The laws of registers and of the maximum power, each difference with its likely cause."""

from __future__ import annotations

from datetime import date

import pytest

from worker.domain.consistency import (
    Cause,
    Discrepancy,
    Law,
    check_peak_days,
    check_peaks,
    check_registers,
    compared_with,
)
from worker.domain.documents import Entry
from worker.domain.series import Series
from worker.domain.tariffs import DayEnergy

DAY, BEFORE, AFTER = "2024-07-10", "2024-07-09", "2024-07-11"


def energies(*watt_hours: int, day: str = DAY) -> list[DayEnergy]:
    return [DayEnergy(date.fromisoformat(day), {"HC": part, "HP": whole - part}, whole)
            for whole in watt_hours for part in (whole // 3,)]  # fmt: skip


def test_each_series_names_the_one_that_it_is_compared_with() -> None:
    pairs = {series: other for series in Series if (other := compared_with(series))}
    assert pairs == {
        Series.LOAD_CURVE: Series.DAILY,
        Series.PRODUCTION_LOAD_CURVE: Series.PRODUCTION_DAILY,
        Series.MAX_POWER: Series.LOAD_CURVE,
        Series.REGISTERS: Series.DAILY,
        Series.PRODUCTION_REGISTERS: Series.PRODUCTION_DAILY,
    }


@pytest.mark.parametrize(
    ("watt_hours", "days", "cause"),
    [
        (9_001, {DAY: 9_000}, Cause.UNKNOWN),
        (9_001, {DAY: 9_000, BEFORE: 9_001}, Cause.SHIFTED_DAY),
        (9_001, {DAY: 9_000, AFTER: 9_001}, Cause.SHIFTED_DAY),
        (9_000, {DAY: 9_000_000}, Cause.FACTOR_OF_THOUSAND),
        (9_000, {DAY: 18_000}, Cause.FACTOR_OF_TWO),
        (0, {DAY: 700, BEFORE: 0}, Cause.UNKNOWN),
    ],
)
def test_registers_that_do_not_make_the_day_are_found(watt_hours: int, days: dict[str, int], cause: Cause) -> None:
    values = [Entry(day, 1000 * value) for day, value in days.items()]
    expected, stored = 1000 * watt_hours, 1000 * days[DAY]
    assert list(check_registers(Series.REGISTERS, energies(watt_hours), values)) == [
        Discrepancy(Law.REGISTERS, DAY, expected, stored, cause, Series.REGISTERS)
    ]


def test_registers_that_make_the_day_or_have_no_day_are_no_difference() -> None:
    assert list(check_registers(Series.REGISTERS, energies(9_000), [Entry(DAY, 9_000_000)])) == []
    assert list(check_registers(Series.REGISTERS, energies(9_000), [])) == []
    assert list(check_registers(Series.REGISTERS, [], [Entry(DAY, 9_000_000)])) == []
    total_alone = [DayEnergy(date.fromisoformat(DAY), {}, 9_000)]
    assert list(check_registers(Series.REGISTERS, total_alone, [Entry(DAY, 9_000_000)])) == []


def test_registers_are_not_compared_with_a_day_that_the_curve_made() -> None:
    """Steps are rounded one by one, so their sum is not the meter's to the watt-hour."""
    assert list(check_registers(Series.REGISTERS, energies(9_000), [Entry(DAY, 9_000_500, 1440)])) == []


def test_a_corrected_day_and_the_day_of_a_clock_change_are_told_as_such() -> None:
    (corrected,) = check_registers(
        Series.REGISTERS, energies(9_000), [Entry(DAY, 9_200_000)], {date.fromisoformat(DAY)}
    )
    assert corrected.cause is Cause.REPROCESSED
    autumn = "2024-10-27"
    (difference,) = check_registers(Series.REGISTERS, energies(9_000, day=autumn), [Entry(autumn, 9_400_000)])
    assert difference.cause is Cause.CLOCK_CHANGE


def test_a_step_above_the_highest_power_is_found() -> None:
    steps = [Entry(f"{DAY}T10:00Z", 1_575_000), Entry(f"{DAY}T10:30Z", 100_000)]  # The first is 3150 W.
    assert list(check_peaks(Series.MAX_POWER, [Entry(DAY, 4_638_000), Entry(AFTER, 1)], steps)) == []
    assert list(check_peaks(Series.MAX_POWER, [Entry(DAY, 3_149_000)], steps)) == [], "both are rounded"
    assert list(check_peaks(Series.MAX_POWER, [Entry(DAY, 3_148_000)], steps)) == [
        Discrepancy(Law.PEAK, DAY, 3_150_000, 3_148_000, Cause.UNKNOWN, Series.MAX_POWER)
    ]
    (found,) = check_peaks(Series.MAX_POWER, [Entry(DAY, 3_148)], steps)
    assert found.cause is Cause.FACTOR_OF_THOUSAND
    assert list(check_peaks(Series.MAX_POWER, [Entry(DAY, 0)], [])) == []


def test_a_step_over_midnight_says_nothing_of_its_days_highest_power() -> None:
    over_midnight = [Entry(f"{DAY}T21:30Z", 9_000_000, 60)]
    assert list(check_peaks(Series.MAX_POWER, [Entry(DAY, 1_000_000)], over_midnight)) == []


def test_a_highest_power_of_another_day_is_found() -> None:
    right = Entry(DAY, 4_638_000, details={"at": f"{DAY}T00:00:00+02:00"})
    wrong = Entry(AFTER, 4_638_000, details={"at": f"{DAY}T23:59:59+02:00"})
    assert list(check_peak_days(Series.MAX_POWER, [right, wrong, Entry("2024-07-12", 1)])) == [
        Discrepancy(Law.PEAK_DAY, AFTER, None, None, Cause.OTHER_DAY, Series.MAX_POWER)
    ]
