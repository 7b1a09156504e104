"""Provisional days are noted when their month should have settled, and not before."""

from __future__ import annotations

from datetime import date

import pytest

from tests.support.gas_entries import gas_day
from worker.domain.consistency import overdue_days
from worker.domain.series import Series, daily_of

DAYS = [
    gas_day("2024-05-31", status="provisional"),
    gas_day("2024-06-01", status="final"),
    gas_day("2024-06-30", status="provisional"),
    gas_day("2024-07-01", status="provisional"),
]


@pytest.mark.parametrize(
    "today, overdue",
    [
        (date(2024, 7, 10), ["2024-05-31"]),
        (date(2024, 7, 11), ["2024-05-31", "2024-06-30"]),
        (date(2024, 8, 11), ["2024-05-31", "2024-06-30", "2024-07-01"]),
    ],
)
def test_a_month_settles_until_its_day_of_the_next_month(today: date, overdue: list[str]) -> None:
    assert list(map(str, overdue_days(Series.GAS_DAILY, DAYS, today))) == overdue


def test_a_series_that_never_settles_has_no_such_days() -> None:
    assert overdue_days(daily_of(), DAYS, date(2024, 8, 11)) == []
