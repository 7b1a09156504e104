"""The duration of a consent, by the calendar."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.consents import last_day_of, without_years


@pytest.mark.parametrize(
    "first_day, duration, last_day",
    [
        ("2024-07-25", "P1Y", "2025-07-24"),
        ("2024-07-25", "P1095D", "2027-07-24"),
        ("2024-07-25", "P1D", "2024-07-25"),
        ("2024-02-29", "P1Y", "2025-02-27"),
        ("2024-08-31", "P6M", "2025-02-27"),
        ("2024-11-30", "P1Y4M", "2026-03-29"),
        ("2024-12-01", "P1M", "2024-12-31"),
        ("2024-07-25", "P2W", "2024-08-07"),
        ("2024-07-25", "P1Y1M1W1D", "2025-09-01"),
    ],
)
def test_the_last_day_is_the_one_before_the_end(first_day: str, duration: str, last_day: str) -> None:
    assert last_day_of(date.fromisoformat(first_day), duration) == date.fromisoformat(last_day)


@pytest.mark.parametrize("bad", ["", "P", "P0D", "PT1H", "P1", "1Y", "P1D1Y", "P-1Y", "P1.5Y", "P٣Y"])
def test_what_is_no_duration_is_refused(bad: str) -> None:
    for reading in (lambda: last_day_of(date(2024, 1, 1), bad), lambda: without_years(bad)):
        with pytest.raises(ValueError, match="duration is written like"):
            reading()


def test_a_consent_beyond_the_calendar_is_refused() -> None:
    with pytest.raises(ValueError, match="calendar"):
        last_day_of(date(2024, 1, 1), "P9999Y")


@pytest.mark.parametrize(
    "duration, expected", [("P3Y", "P36M"), ("P1Y4M", "P16M"), ("P1095D", "P1095D"), ("P1Y2W", "P12M2W")]
)
def test_years_can_be_told_in_months(duration: str, expected: str) -> None:
    assert without_years(duration) == expected


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(0, 3), st.integers(0, 11), st.integers(1, 40))
def test_the_same_duration_without_years_ends_on_the_same_day(first: date, years: int, months: int, days: int) -> None:
    duration = f"P{years}Y{months}M{days}D"
    assert last_day_of(first, duration) == last_day_of(first, without_years(duration)) >= first
