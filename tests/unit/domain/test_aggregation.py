"""Totals conserve energy: from steps to hours to days to months to years, on every kind of day."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import Row, end_labels, v5_answer
from tests.support.plain_readings import to_entries, total_by_period
from tests.support.strategies import curve_days, many, several
from worker.domain.documents import Entry
from worker.domain.parsing.electricity import parse_load_curve
from worker.domain.series import Doctype
from worker.domain.totals import keep_changed, keep_different, total_entries
from worker.domain.windows import IntervalReading, day_length, local_midnight


@several
@given(curve_days())
def test_no_energy_is_lost_from_steps_to_hours_to_days(curve: tuple[date, list[Row]]) -> None:
    day, rows = curve
    parsed = parse_load_curve(v5_answer(rows))
    assert (len(parsed.readings), parsed.dropped, parsed.differing) == (len(rows), 0, 0)
    assert sum((reading.length for reading in parsed.readings), timedelta()) == day_length(day)

    by_hour = total_by_period(parsed.readings, Doctype.HOUR)
    by_day = total_by_period(parsed.readings, Doctype.DAY)
    assert len(by_hour) == day_length(day) / timedelta(hours=1)
    assert by_day == {day.isoformat(): sum(by_hour.values())}

    exact = sum(Fraction(row[1] * int(row[2][2:-1]) * 1000, 60) for row in rows)
    assert abs(by_day[day.isoformat()] - exact) <= Fraction(len(rows), 2)


@several
@given(curve_days())
def test_stored_steps_add_up_as_readings_do(curve: tuple[date, list[Row]]) -> None:
    readings = parse_load_curve(v5_answer(curve[1])).readings
    entries = to_entries(readings, Doctype.MINUTE)
    assert total_entries(entries, Doctype.HOUR) == total_by_period(readings, Doctype.HOUR)


@several
@given(st.dictionaries(st.dates(date(2022, 11, 1), date(2025, 2, 1)), st.integers(0, 10**6), max_size=40))
def test_days_add_up_to_months_and_months_to_years(watt_hours: dict[date, int]) -> None:
    readings = [
        IntervalReading(local_midnight(day), day_length(day), energy * 1000) for day, energy in watt_hours.items()
    ]
    months, years = (total_by_period(readings, period) for period in (Doctype.MONTH, Doctype.YEAR))
    entries = to_entries(readings, Doctype.DAY)
    assert total_entries(entries, Doctype.MONTH) == months
    assert total_entries(entries, Doctype.YEAR) == years
    assert sum(months.values()) == sum(years.values()) == sum(watt_hours.values()) * 1000
    for year, energy in years.items():
        assert energy == sum(of_month for month, of_month in months.items() if month.startswith(year))


@pytest.mark.parametrize("day, hours", [("2024-03-31", 23), ("2024-06-15", 24), ("2024-10-27", 25)])
@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 60])
def test_every_hour_of_a_local_day_is_kept(day: str, hours: int, minutes: int) -> None:
    rows = [[label, 600, f"PT{minutes}M"] for label in end_labels(date.fromisoformat(day), minutes)]
    by_hour = total_by_period(parse_load_curve(v5_answer(rows)).readings, Doctype.HOUR)
    assert list(by_hour.values()) == [600_000] * hours


def test_a_period_without_a_reading_has_no_total() -> None:
    assert total_by_period([], Doctype.HOUR) == {} == total_entries([], Doctype.MONTH)


def test_only_totals_that_differ_are_kept_with_what_they_replace() -> None:
    stored = {
        "2024-01": Entry("2024-01", 7_000_000, None, "1-a", "born"),
        "2024-02": Entry("2024-02", 9_000_000, None, "1-b", "born"),
        "2024-04": Entry("2024-04", 1_000_000, None, "1-c", "born"),
    }
    totals = {"2024-03": 5_000_049, "2024-02": 9_000_049, "2024-01": 7_000_050}
    assert keep_different(totals, stored, Doctype.MONTH) == [
        Entry("2024-01", 7_000_100, None, "1-a", "born"),
        Entry("2024-03", 5_000_000),
    ]


details = st.sampled_from([None, {"at": "2024-01-01T19:30:00+01:00"}, {"at": "2024-01-01T07:00:00+01:00"}])
entries = st.lists(
    st.builds(
        Entry,
        st.sampled_from([f"2024-05-10T0{hour}:00Z" for hour in range(6)]),
        st.integers(0, 3),
        st.sampled_from([None, 15, 60]),
        details=details,
    ),
    unique_by=lambda entry: entry.key,
)


def as_stored(changed: list[Entry]) -> dict[str, Entry]:
    return {entry.key: entry._replace(revision="1-x", created_at="born") for entry in changed}


@many
@given(entries, entries)
def test_what_is_kept_makes_the_store_equal_to_the_answer_and_nothing_else_is_touched(
    before: list[Entry], answer: list[Entry]
) -> None:
    stored = as_stored(before)
    changed = list(keep_changed(answer, stored))
    after = {**stored, **{entry.key: entry for entry in changed}}
    assert {key: after[key].reading for key in after} == {
        **{entry.key: entry.reading for entry in before},
        **{entry.key: entry.reading for entry in answer},
    }
    assert all(entry.reading != stored[entry.key].reading for entry in changed if entry.key in stored)


def test_a_reprocessed_value_replaces_the_very_document_that_was_read() -> None:
    stored = {"2024-05-10": Entry("2024-05-10", 8_000_000, None, "2-b", "born")}
    assert list(keep_changed([Entry("2024-05-10", 8_640_000)], stored)) == [
        Entry("2024-05-10", 8_640_000, None, "2-b", "born", 8_000_000)
    ]


def test_a_step_of_another_length_is_a_change_though_its_energy_is_the_same() -> None:
    key = "2024-05-10T00:00Z"
    stored = {key: Entry(key, 5, None, "1-a", "born")}
    assert list(keep_changed([Entry(key, 5, 60)], stored)) == [Entry(key, 5, 60, "1-a", "born", 5)]
