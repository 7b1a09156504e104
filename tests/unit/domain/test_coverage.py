"""The summary of a ledger, when open days are asked for next, and the parts of a day that no step covers."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import curve_of, v5_answer
from tests.support.plain_readings import to_entries
from tests.support.strategies import STEPS, days, several
from worker.accounts.status import coverage_to_json
from worker.domain.completeness import DayLedger, find_gaps, half_hours_in, summarize_days
from worker.domain.parsing.electricity import parse_load_curve
from worker.domain.series import Doctype, Series
from worker.domain.windows import day_length

NEXT = datetime(2024, 7, 25, 12, 30, tzinfo=UTC)


def summary_of(series: Series, ledger: DayLedger) -> dict[str, Any]:
    coverage = summarize_days({series: ledger}, lambda *_: NEXT)
    summary: dict[str, Any] = coverage_to_json("home", coverage)["series"][series.value]
    return summary


def test_a_ledger_is_counted_and_its_open_days_are_named() -> None:
    ledger = DayLedger.parse("2024-05-01 1b 77c 1p46@6 2c 1l@3 1c 1l@1")
    summary = summary_of(Series.LOAD_CURVE, ledger)
    assert summary == {
        "first_day": "2024-05-01",
        "last_day": "2024-07-23",
        "complete": 80,
        "partial": 1,
        "late": 2,
        "set_aside": 0,
        "absent": 0,
        "before": 1,
        "unknown": 0,
        "asked_next": "2024-07-25T12:30:00+00:00",
        "open_days": [
            {
                "day": "2024-07-18",
                "state": "partial",
                "half_hours": 46,
                "of": 48,
                "asked_next": "2024-07-25T12:30:00+00:00",
                "hole": None,
            },
            {
                "day": "2024-07-21",
                "state": "late",
                "half_hours": 0,
                "of": 48,
                "asked_next": "2024-07-25T12:30:00+00:00",
                "hole": None,
            },
            {
                "day": "2024-07-23",
                "state": "late",
                "half_hours": 0,
                "of": 48,
                "asked_next": "2024-07-25T12:30:00+00:00",
                "hole": None,
            },
        ],
    }
    assert summary_of(Series.DAILY, DayLedger())["first_day"] is None


def test_the_first_stored_day_is_not_the_first_that_was_asked_for() -> None:
    ledgers = {
        Series.PRODUCTION_DAILY: DayLedger.parse("2021-11-04 727a 1p3 5c"),
        Series.DAILY: DayLedger.parse("2024-07-01 3l"),
    }
    coverage = summarize_days(ledgers, lambda *_: None)
    production = coverage[Series.PRODUCTION_DAILY]
    assert (production.first, production.first_stored) == (date(2021, 11, 4), date(2023, 11, 1))
    assert coverage[Series.DAILY].first_stored is None


@pytest.mark.parametrize("day, of", [("2024-03-31", 46), ("2024-06-15", 48), ("2024-10-27", 50)])
def test_a_torn_day_is_told_of_its_own_length(day: str, of: int) -> None:
    ledgers = {Series.LOAD_CURVE: DayLedger.parse(f"{day} 1p12@1")}
    (partial_day,) = summarize_days(ledgers, lambda *_: None)[Series.LOAD_CURVE].open_days
    assert partial_day.state_text == f"partial 12 of {of}"


@several
@given(days, st.sampled_from(STEPS), st.sets(st.integers(0, 290)))
def test_gaps_and_steps_fill_a_day_without_overlap(day: date, minutes: int, lost: set[int]) -> None:
    rows = curve_of(day, 100, minutes)
    readings = parse_load_curve(v5_answer(rows, "W")).readings
    remaining = [reading for place, reading in enumerate(readings) if place not in lost]
    gaps = find_gaps(day, to_entries(remaining, Doctype.MINUTE))
    missing = sum((after.astimezone(UTC) - first.astimezone(UTC) for first, after in gaps), timedelta())
    assert missing == day_length(day) - len(remaining) * timedelta(minutes=minutes)
    starts = {reading.start.astimezone(UTC) for reading in remaining}
    assert not any(first.astimezone(UTC) <= start < after.astimezone(UTC) for first, after in gaps for start in starts)
    assert half_hours_in(day_length(day)) in (46, 48, 50)
