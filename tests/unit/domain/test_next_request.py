"""When an open day is asked for next, by the night, the catch-ups and the repair."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, time, timedelta

import pytest

from worker.domain.completeness import DayLedger, DayMark, DayState
from worker.domain.schedule import Turn, next_look_back, next_request
from worker.domain.series import Series
from worker.domain.windows import PARIS

YESTERDAY = date(2024, 7, 25)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


def late(age: int, letter: str = "l") -> DayMark:
    return DayLedger.parse(f"2024-01-01 1{letter}@{age}").marks[0]


NIGHT = Turn(nightly_at=time(8, 30), asked_at=at("2024-07-25T08:31"), last_day=date(2024, 7, 24))


@pytest.mark.parametrize(
    "now, asked_at, again",
    [
        ("2024-07-26T02:29", "2024-07-26T02:28", "2024-07-26T08:30"),  # A history, loaded before the night.
        ("2024-07-26T08:29", "2024-07-25T08:31", "2024-07-26T08:30"),
        ("2024-07-26T09:00", "2024-07-26T08:31", "2024-07-26T14:30"),
        ("2024-07-26T14:30", "2024-07-26T08:31", "2024-07-26T15:30"),
        ("2024-07-26T15:00", "2024-07-26T14:31", "2024-07-26T15:30"),
        ("2024-07-26T16:00", "2024-07-26T15:31", "2024-07-27T00:45"),  # The day is two days old then: the repair.
        ("2024-07-26T09:00", "2024-07-25T08:31", "2024-07-26T09:00"),  # The night has begun and this is due.
    ],
)
def test_a_late_day_is_asked_for_by_the_night_then_by_the_catch_ups_then_by_the_repair(
    now: str, asked_at: str, again: str
) -> None:
    turn = replace(NIGHT, asked_at=at(asked_at))
    assert next_request(Series.DAILY, YESTERDAY, late(1), at(now), turn) == at(again)


def test_the_hour_of_the_night_is_that_of_the_settings() -> None:
    turn = replace(NIGHT, nightly_at=time(10, 15), asked_at=at("2024-07-26T02:28"))
    assert next_request(Series.DAILY, YESTERDAY, late(1), at("2024-07-26T02:29"), turn) == at("2024-07-26T10:15")


def test_after_a_failure_the_next_try_comes_before_night_and_catch_up() -> None:
    turn = replace(NIGHT, asked_at=at("2024-07-26T08:31"), again_at=at("2024-07-26T09:31"))
    now = at("2024-07-26T09:00")
    assert next_request(Series.DAILY, YESTERDAY, late(1), now, turn) == at("2024-07-26T09:31")
    assert next_look_back(Series.DAILY, now, turn) == at("2024-07-26T09:31")
    assert next_look_back(Series.DAILY, at("2024-07-26T10:00"), turn) == at("2024-07-26T10:00"), "it is due"


def test_a_catch_up_takes_only_what_lacks_yesterday() -> None:
    turn = replace(NIGHT, asked_at=at("2024-07-26T08:31"), last_day=YESTERDAY)
    older = YESTERDAY - timedelta(days=2)
    assert next_request(Series.DAILY, older, late(3), at("2024-07-26T09:00"), turn) == at("2024-07-27T00:45")
    assert next_look_back(Series.DAILY, at("2024-07-26T09:00"), turn) == at("2024-07-27T08:30")


def test_with_a_policy_each_k_th_night_asks() -> None:
    turn = replace(NIGHT, asked_at=at("2024-07-25T08:31"), nights=3, last_day=YESTERDAY)
    assert next_look_back(Series.DAILY, at("2024-07-26T09:00"), turn) == at("2024-07-28T08:30")


def test_the_afternoon_does_not_ask_for_what_had_no_turn_in_this_night() -> None:
    turn = replace(NIGHT, asked_at=at("2024-07-25T08:31"), nights=3)
    assert next_look_back(Series.DAILY, at("2024-07-26T09:00"), turn) == at("2024-07-28T08:30")


def test_a_weekly_series_has_neither_catch_up_nor_repair_within_its_look_back() -> None:
    turn = replace(NIGHT, nights=7, asked_at=at("2024-07-24T08:31"))
    day = date(2024, 7, 22)
    assert next_request(Series.MAX_POWER, day, late(2), at("2024-07-26T09:00"), turn) == at("2024-07-31T08:30")


def test_a_curve_that_is_not_collected_is_asked_for_once_a_week() -> None:
    turn = replace(NIGHT, nights=7, lacks_curve=True, asked_at=at("2024-07-24T08:31"))
    assert next_request(Series.LOAD_CURVE, YESTERDAY, late(1), at("2024-07-26T09:00"), turn) == at("2024-07-31T08:30")


def test_a_day_beyond_the_look_back_waits_for_its_repair_and_for_that_of_its_row() -> None:
    old, now = date(2024, 6, 1), at("2024-07-26T09:00")
    mark = late(50)
    assert next_request(Series.LOAD_CURVE, old, mark, now, NIGHT) == at("2024-07-28T00:45")
    due = late(43)
    assert next_request(Series.LOAD_CURVE, old, due, now, NIGHT) == at("2024-07-26T09:45")
    assert next_request(Series.LOAD_CURVE, old, due, at("2024-07-26T09:50"), NIGHT) == at("2024-07-26T10:45")
    failed_today = replace(NIGHT, repair_on=date(2024, 7, 27))
    assert next_request(Series.LOAD_CURVE, old, due, now, failed_today) == at("2024-07-27T00:45")
    assert next_request(Series.LOAD_CURVE, date(2024, 4, 1), late(70), now, NIGHT) is None


def test_what_is_whole_or_a_state_is_not_asked_for_again() -> None:
    now = at("2024-07-26T09:00")
    assert next_request(Series.DAILY, YESTERDAY, DayMark(DayState.COMPLETE), now, NIGHT) is None
    assert next_request(Series.CONTRACT, YESTERDAY, late(1), now, NIGHT) is None


def test_a_repair_keeps_its_minute_over_the_change_to_winter_time() -> None:
    first_pass = datetime(2024, 10, 27, 2, 50, tzinfo=PARIS)
    old = date(2024, 9, 1)
    moment = next_request(Series.LOAD_CURVE, old, late(43), first_pass, NIGHT)
    assert moment is not None
    assert moment.timestamp() - first_pass.timestamp() == 55 * 60
