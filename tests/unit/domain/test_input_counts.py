"""What a total is made of: known days of a month or year, known minutes of an hour, and how many it has."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, timedelta

import pytest

from worker.domain.documents import Entry, period_key
from worker.domain.series import Doctype, Period
from worker.domain.totals import count_days, count_inputs, count_names, total_entries
from worker.domain.windows import ONE_DAY, DateWindow, local_midnight

AUTUMN, SPRING = date(2024, 10, 27), date(2024, 3, 31)  # Of 25 and of 23 hours.


def days_from(first: date, number: int, without: Iterable[date] = ()) -> list[Entry]:
    days = (first + place * ONE_DAY for place in range(number))
    return [Entry(str(day), 1000) for day in days if day not in without]


def steps_of(day: date, minutes: int = 30) -> list[Entry]:
    start, end = (local_midnight(one).astimezone(UTC) for one in (day, day + ONE_DAY))
    length = timedelta(minutes=minutes)
    starts = (start + place * length for place in range((end - start) // length))
    step = None if minutes == 30 else minutes
    return [Entry(period_key(at, Doctype.MINUTE), 500, step) for at in starts]


def counts_of(inputs: list[Entry], doctype: Doctype) -> dict[str, dict[str, int]]:
    return count_inputs(total_entries(inputs, doctype), inputs, doctype)


@pytest.mark.parametrize("doctype", [Doctype.MONTH, Doctype.PRODUCTION_MONTH, Doctype.GAS_MONTH])
def test_a_month_counts_its_known_days_and_all_that_it_has(doctype: Doctype) -> None:
    days = days_from(date(2024, 1, 1), 60, without=[date(2024, 1, 20), date(2024, 1, 31)])
    assert counts_of(days, doctype) == {
        "2024-01": {"days": 29, "expected_days": 31},
        "2024-02": {"days": 29, "expected_days": 29},
    }


def test_days_to_come_are_expected_of_a_month_and_of_a_year() -> None:
    days = days_from(date(2024, 7, 1), 24)
    assert counts_of(days, Doctype.MONTH) == {"2024-07": {"days": 24, "expected_days": 31}}
    assert counts_of(days, Doctype.YEAR) == {"2024": {"days": 24, "expected_days": 366}}
    assert counts_of(days_from(date(2023, 1, 1), 365), Doctype.YEAR) == {"2023": {"days": 365, "expected_days": 365}}


def test_an_hour_counts_the_minutes_of_the_steps_that_begin_in_it() -> None:
    steps = [
        Entry("2024-07-01T10:00Z", 1),
        Entry("2024-07-01T11:00Z", 1),
        Entry("2024-07-01T11:30Z", 1),
        Entry("2024-07-01T12:10Z", 1, 10),
        Entry("2024-07-01T12:50Z", 1, 5),
        Entry("2024-07-01T13:00Z", 1, 60),
        Entry("2024-07-01T14:45Z", 1),
    ]
    minutes = {key: counts["minutes"] for key, counts in counts_of(steps, Doctype.HOUR).items()}
    assert minutes == {
        "2024-07-01T10:00Z": 30,
        "2024-07-01T11:00Z": 60,
        "2024-07-01T12:00Z": 15,
        "2024-07-01T13:00Z": 60,
        "2024-07-01T14:00Z": 30,
    }
    assert {counts["expected_minutes"] for counts in counts_of(steps, Doctype.HOUR).values()} == {60}


@pytest.mark.parametrize("minutes", [5, 10, 15, 30, 60])
@pytest.mark.parametrize(("day", "hours"), [(AUTUMN, 25), (SPRING, 23)])
def test_each_hour_of_a_clock_change_has_sixty_minutes(day: date, hours: int, minutes: int) -> None:
    counts = counts_of(steps_of(day, minutes), Doctype.HOUR)
    assert list(counts.values()) == [{"minutes": 60, "expected_minutes": 60}] * hours


def test_a_total_whose_inputs_are_gone_is_made_of_nothing() -> None:
    assert count_inputs(["2024-07"], [], Doctype.MONTH) == {"2024-07": {"days": 0, "expected_days": 31}}
    assert count_inputs(["2024-07-01T10:00Z"], [], Doctype.HOUR)["2024-07-01T10:00Z"]["minutes"] == 0


@pytest.mark.parametrize("doctype", Doctype)
def test_totals_alone_are_made_of_something(doctype: Doctype) -> None:
    assert bool(count_names(doctype.period)) is (doctype.period not in (Period.MINUTE, Period.DAY))
    counts = count_inputs(["2024-07-01"], days_from(date(2024, 7, 1), 1), Doctype.DAY)
    assert counts == {"2024-07-01": {}}


def test_pages_count_the_days_of_a_week_likewise() -> None:
    known = {date(2024, 7, 1), date(2024, 7, 3), date(2024, 7, 9)}
    assert count_days(DateWindow(date(2024, 7, 1), date(2024, 7, 8)), known) == (2, 7)
