"""The ledger of days: its marks, its text form, and when open days are asked for again."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import curve_of
from tests.support.plain_readings import to_entries
from tests.support.strategies import several
from worker.accounts.explanations import stored_of
from worker.domain.completeness import (
    ASKED_AT_AGES,
    BEFORE,
    COMPLETE,
    GIVE_UP_AGE,
    UNKNOWN,
    DayLedger,
    DayMark,
    DayState,
    covered_time_by_day,
    half_hours_of,
    mark_days,
    next_ask,
    open_days,
)
from worker.domain.documents import Entry
from worker.domain.parsing.electricity import parse_load_curve
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, day_length

TODAY = date(2024, 7, 25)

marks = st.one_of(
    st.sampled_from([COMPLETE, BEFORE, UNKNOWN, DayMark(DayState.ABSENT)]),
    st.builds(DayMark, st.just(DayState.LATE), st.just(0), st.integers(0, 70)),
    st.builds(DayMark, st.just(DayState.PARTIAL), st.integers(1, 50), st.integers(0, 70)),
)
days = st.dates(date(2023, 1, 1), date(2024, 12, 31))
notes = st.lists(st.dictionaries(days, marks, max_size=8), max_size=4)


def ledger_of(updates: list[dict[date, DayMark]]) -> DayLedger:
    ledger = DayLedger()
    for marks_by_day in updates:
        ledger = ledger.with_marks(marks_by_day)
    return ledger


@several
@given(notes)
def test_the_newest_complete_day_is_found_wherever_it_is(updates: list[dict[date, DayMark]]) -> None:
    ledger = ledger_of(updates)
    assert ledger.last_complete() == max((day for day, mark in ledger.days() if mark.complete), default=None)


@several
@given(notes, st.lists(days, max_size=10))
def test_the_last_note_of_a_day_holds_and_days_never_noted_are_unknown(
    updates: list[dict[date, DayMark]], asked: list[date]
) -> None:
    expected = {day: mark for marks_by_day in updates for day, mark in marks_by_day.items()}
    ledger = ledger_of(updates)
    assert all(ledger.mark_of(day) == expected.get(day, UNKNOWN) for day in [*asked, *expected])


@several
@given(notes)
def test_a_ledger_reads_what_it_wrote(updates: list[dict[date, DayMark]]) -> None:
    ledger = ledger_of(updates)
    assert list(DayLedger.parse(str(ledger)).days()) == list(ledger.days())


def test_three_years_of_a_healthy_meter_are_a_short_text() -> None:
    window = DateWindow(date(2021, 7, 25), TODAY)
    whole = dict.fromkeys((window.start + place * ONE_DAY for place in range(window.days)), COMPLETE)
    assert str(DayLedger().with_marks(whole)) == "2021-07-25 1096c"


@pytest.mark.parametrize("text", ["2024-01-01 1z", "2024-01-01  3c", "tomorrow 3c", "2024-01-01 c"])
def test_a_text_that_is_no_ledger_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        DayLedger.parse(text)


@pytest.mark.parametrize("day, half_hours", [("2024-03-31", 46), ("2024-06-15", 48), ("2024-10-27", 50)])
def test_a_day_is_whole_when_all_its_hours_are_there(day: str, half_hours: int) -> None:
    on = date.fromisoformat(day)
    window = DateWindow(on, on + ONE_DAY)
    answer = {"meter_reading": {"interval_reading": [
        {"date": label, "value": watts, "interval_length": step} for label, watts, step in curve_of(on, 100)
    ]}}  # fmt: skip
    entries = to_entries(parse_load_curve(answer).readings, Doctype.MINUTE)
    assert half_hours_of(on) == len(entries) == half_hours
    today = on + 3 * ONE_DAY
    whole, torn = (covered_time_by_day(Series.LOAD_CURVE, stored) for stored in (entries, entries[1:]))
    assert mark_days(window, open_days(window, whole), today) == {on: COMPLETE}
    assert mark_days(window, open_days(window, torn), today) == {on: DayMark(DayState.PARTIAL, half_hours - 1, 3)}


def test_steps_of_an_hour_fill_a_day_as_half_hours_do() -> None:
    hours = [Entry(f"2024-07-{20 if hour >= 22 else 21}T{hour:02}:00Z", 1, 60) for hour in (22, 23, *range(22))]
    assert covered_time_by_day(Series.LOAD_CURVE, hours) == {date(2024, 7, 21): timedelta(hours=24)}


def test_a_step_over_midnight_covers_part_of_both_days() -> None:
    first = datetime(2024, 7, 23, 0, 30, tzinfo=PARIS)
    starts = (first.astimezone(UTC) + timedelta(hours=rank) for rank in range(47))
    steps = [Entry(f"{start:%Y-%m-%dT%H:%M}Z", 1, 60) for start in starts]
    days = DateWindow(date(2024, 7, 23), date(2024, 7, 25))
    covered = covered_time_by_day(Series.LOAD_CURVE, steps)
    assert covered == dict.fromkeys(days.dates(), timedelta(hours=23.5))
    assert [str(mark) for mark in mark_days(days, open_days(days, covered), days.end).values()] == ["p47@2", "p47@1"]
    told = [stored_of(Series.LOAD_CURVE, day, {Doctype.MINUTE: steps}) for day in days.dates()]
    assert [one.half_hours for one in told] == [47, 47]
    assert [[f"{first:%H:%M}-{after:%H:%M}" for first, after in one.gaps] for one in told] == [
        ["00:00-00:30"],
        ["23:30-00:00"],
    ]


def test_a_daily_value_covers_its_day_whatever_its_length() -> None:
    day = date(2024, 10, 27)
    assert covered_time_by_day(Series.DAILY, [Entry("2024-10-27", 1)]) == {day: day_length(day)}


def test_days_without_anything_are_late_until_they_are_given_up() -> None:
    old, young = TODAY - GIVE_UP_AGE * ONE_DAY, TODAY - 2 * ONE_DAY
    window = DateWindow(old, TODAY)
    judged = mark_days(window, open_days(window, {}), TODAY)
    assert judged[old] == DayMark(DayState.ABSENT)
    assert judged[young] == DayMark(DayState.LATE, 0, 2)


def test_what_lies_before_the_suppliers_reach_is_no_hole() -> None:
    window = DateWindow(date(2024, 7, 1), date(2024, 7, 4))
    floor = date(2024, 7, 3)
    covered = covered_time_by_day(Series.DAILY, [Entry("2024-07-03", 1)])
    judged = mark_days(window, open_days(window, covered), TODAY, floor)
    assert list(judged.values()) == [BEFORE, BEFORE, COMPLETE]


@pytest.mark.parametrize("hours, mark", [(10, DayMark(DayState.PARTIAL, 20, 22)), (0, DayMark(DayState.LATE, 0, 22))])
def test_the_suppliers_first_day_is_asked_for_again_until_it_is_whole(hours: int, mark: DayMark) -> None:
    floor = date(2024, 7, 3)
    window = DateWindow(floor - ONE_DAY, floor + ONE_DAY)
    judged = mark_days(window, open_days(window, {floor: timedelta(hours=hours)}), TODAY, floor)
    assert judged == {floor - ONE_DAY: BEFORE, floor: mark}


def test_open_days_are_asked_for_again_with_falling_frequency() -> None:
    day, asked = date(2024, 1, 1), []
    mark = DayMark(DayState.LATE, 0, 0)
    for age in range(1, 200):
        if DayLedger().with_marks({day: mark}).due_days(day + age * ONE_DAY, Series.DAILY):
            asked.append(age)
            mark = DayMark(DayState.LATE, 0, age)
    assert asked == list(ASKED_AT_AGES) == [1, 2, 4, 8, 15, 22, 29, 36, 43, 50, 57, 64]


def test_a_service_that_slept_asks_once_for_all_it_missed() -> None:
    day = date(2024, 1, 1)
    ledger = DayLedger().with_marks({day: DayMark(DayState.PARTIAL, 40, 1)})
    assert ledger.due_days(day + 30 * ONE_DAY, Series.DAILY) == [day]
    assert ledger.with_marks({day: DayMark(DayState.PARTIAL, 40, 30)}).due_days(day + 35 * ONE_DAY, Series.DAILY) == []


@several
@given(notes)
def test_the_next_ask_is_when_the_first_day_falls_due(updates: list[dict[date, DayMark]]) -> None:
    ledger = ledger_of(updates)
    when = ledger.next_ask(Series.DAILY)
    asked = [next_ask(day, mark, Series.DAILY) for day, mark in ledger.days() if mark.open]
    assert when == min((day for day in asked if day), default=None)
    if when is not None:
        assert ledger.due_days(when, Series.DAILY)
        assert not ledger.due_days(when - ONE_DAY, Series.DAILY)


def test_days_for_which_answers_crossed_are_due_at_once_and_stay_complete() -> None:
    ledger = DayLedger.parse("2024-07-20 1c 1p46@4 1l@2 1a 1b")
    again = ledger.ask_again(day for day, _ in ledger.days())
    assert str(again) == "2024-07-20 1r 1p46@0 1l@0 1a 1b"
    assert DayLedger.parse(str(again)) == again
    assert again.due_days(date(2024, 7, 24), Series.DAILY) == [date(2024, 7, 20), date(2024, 7, 21), date(2024, 7, 22)]
    assert again.last_complete() == date(2024, 7, 20)
    assert str(
        again.with_marks(mark_days(DateWindow(date(2024, 7, 20), date(2024, 7, 21)), {}, date(2024, 7, 24)))
    ) == ("2024-07-20 1c 1p46@0 1l@0 1a 1b")
