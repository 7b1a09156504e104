"""The rows of hourly statistics: energy is conserved, and sums at the ends of days are those of the daily values."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from worker.domain.series import Doctype, Series
from worker.domain.statistics import STATISTICS, DayAmounts, StatisticRow, daily_amounts, to_days, to_rows
from worker.domain.windows import PARIS, local_midnight

CONSUMPTION, _, GAS, VOLUME = STATISTICS
DAY = date(2026, 11, 24)
HOUR = timedelta(hours=1)


def at(hour: int, day: date = DAY) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=PARIS).astimezone(UTC)


def rows_of(*days: DayAmounts, total: int = 0) -> list[StatisticRow]:
    return list(to_rows(days, total, CONSUMPTION))


def test_the_statistics_are_those_of_daily_energy_and_their_curves() -> None:
    assert [(one.name, one.unit, one.unit_class, one.starts_at, one.hours) for one in STATISTICS] == [
        ("consumption", "kWh", "energy", 0, Doctype.HOUR),
        ("production", "kWh", "energy", 0, Doctype.PRODUCTION_HOUR),
        ("gas", "kWh", "energy", 6, None),
        ("gas_volume", "m³", "volume", 6, None),
    ]
    assert [sorted(one.series) for one in STATISTICS] == [
        [Series.DAILY, Series.LOAD_CURVE],
        [Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE],
        [Series.GAS_DAILY],
        [Series.GAS_DAILY],
    ]


def test_a_day_known_only_as_a_day_is_one_row_at_its_local_midnight() -> None:
    assert rows_of(DayAmounts(DAY, 700, {}), total=100) == [(local_midnight(DAY), 700, 800)]


def test_a_day_of_gas_begins_at_six() -> None:
    day = DayAmounts(DAY, 700, {})
    assert [row.start for row in to_rows([day], 0, GAS)] == [at(6)]


def test_what_no_hour_tells_goes_into_the_first_row_of_the_day() -> None:
    rows = rows_of(DayAmounts(DAY, 700, {at(10): 100, at(11): 200}))

    assert len(rows) == 24
    assert {row.start: row.amount for row in rows if row.amount} == {at(0): 400, at(10): 100, at(11): 200}
    assert [rows[place].total for place in (0, 9, 10, 11, 23)] == [400, 400, 500, 700, 700]


def test_what_the_hours_tell_too_much_is_taken_from_the_first_and_none_falls_below_zero() -> None:
    rows = rows_of(DayAmounts(DAY, 700, {at(hour): 100 for hour in range(10)}))

    assert [row.amount for row in rows[:10]] == [0, 0, 0, 100, 100, 100, 100, 100, 100, 100]
    assert rows[-1].total == 700


def test_without_a_daily_value_the_hours_count() -> None:
    rows = rows_of(DayAmounts(DAY, None, {at(1): 3, at(23): 4}))

    assert (rows[0].amount, rows[1].amount, rows[-1]) == (None, 3, (at(23), 4, 7))


@pytest.mark.parametrize(("day", "number"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (DAY, 24)])
def test_clock_change_days_have_each_of_their_hours_once(day: date, number: int) -> None:
    hours = [at(0, day) + place * HOUR for place in range(number)]
    documents = [{"_id": f"home1:{hour:%Y-%m-%dT%H:00Z}", "load": place} for place, hour in enumerate(hours)]

    rows = rows_of(*to_days([day], {}, documents))

    assert [row[:2] for row in rows] == [(hour, 1_000_000 * place) for place, hour in enumerate(hours)]
    assert rows[-1].start + HOUR == at(0, day + timedelta(days=1))


def test_days_without_anything_carry_the_sum_on_to_the_next_that_is_known() -> None:
    days = [DayAmounts(DAY + timedelta(days=place), value, {}) for place, value in enumerate([5, None, 7, None, None])]

    assert [(row.amount, row.total) for row in rows_of(*days)] == [(5, 5), (None, 5), (7, 12)]


def test_the_volume_of_gas_is_a_field_of_its_day() -> None:
    documents: list[dict[str, Any]] = [
        {"_id": "home1:2026-11-24", "load": 20.0, "volume": 1.8},
        {"_id": "home1:2026-11-25", "load": 21.0},
    ]
    assert daily_amounts(documents, VOLUME) == {DAY: 1_800_000}
    assert daily_amounts(documents, GAS) == {DAY: 20_000_000, DAY + timedelta(days=1): 21_000_000}
