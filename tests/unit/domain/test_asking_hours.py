"""The hours at which a gateway may be asked for an account."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.completeness import DayLedger
from worker.domain.schedule import (
    AskingHours,
    Turn,
    is_afternoon,
    is_asking_hour,
    next_look_back,
    next_request,
    start_of_afternoon,
)
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, PARIS, civil_date

ACCOUNTS = st.text("abcdefghjkmnpqrstvwxyz0123456789", min_size=12, max_size=12)
# Two years, with their changes of the clock.
MOMENTS = st.integers(1_767_225_600, 1_830_297_600).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
HOURS = AskingHours("k3qd0fr2mw7x")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=PARIS)


@given(ACCOUNTS, MOMENTS)
def test_an_account_is_asked_in_the_morning_or_early_afternoon_alone(account: str, moment: datetime) -> None:
    opens = AskingHours(account).next_from(moment)
    local = opens.astimezone(PARIS).time()
    assert time(6) < local < time(9, 50) or time(13) < local < time(14, 50)
    assert opens >= moment and opens - moment < timedelta(hours=20)
    assert is_asking_hour(opens) and AskingHours(account).allow(opens)
    if opens > moment:
        assert not AskingHours(account).allow(moment)
        assert opens.second % 2 == 1, "at an odd second"
    if AskingHours(account).allow(moment):
        assert opens == moment and is_asking_hour(moment)


def test_accounts_have_moments_of_their_own() -> None:
    night = at("2026-11-27T00:00")
    mornings = sorted(AskingHours(f"account{number}").next_from(night) for number in range(200))
    assert len(set(mornings)) > 190
    assert mornings[0] < at("2026-11-27T06:10") and mornings[-1] > at("2026-11-27T09:20")
    assert HOURS.next_from(night + 7 * ONE_DAY) == HOURS.next_from(night) + 7 * ONE_DAY


def test_the_supplier_decides_whether_there_are_hours() -> None:
    assert AskingHours.of("gateway", "a") == AskingHours("a")
    assert AskingHours.of("enedis", "a") is None and AskingHours.of("grdf", "a") is None


@pytest.mark.parametrize(
    ("now", "afternoon"), [("12:59", False), ("13:00", True), ("14:49", True), ("14:50", False), ("09:00", False)]
)
def test_an_afternoon_has_hours(now: str, afternoon: bool) -> None:
    assert is_afternoon(at(f"2026-11-27T{now}")) is afternoon


def test_the_next_request_is_told_at_the_accounts_own_moment() -> None:
    yesterday, late = date(2026, 11, 26), DayLedger.parse("2026-11-26 1l@1").marks[0]
    turn = Turn(nightly_at=time(6), asked_at=at("2026-11-26T08:00"), last_day=date(2026, 11, 25), hours=HOURS)
    morning, afternoon = (
        HOURS.next_from(at("2026-11-27T00:00")),
        HOURS.next_from(start_of_afternoon(date(2026, 11, 27))),
    )
    assert next_look_back(Series.DAILY, at("2026-11-27T03:00"), turn) == morning
    assert next_request(Series.DAILY, yesterday, late, at("2026-11-27T03:00"), turn) == morning
    asked = replace(turn, asked_at=morning)
    assert next_look_back(Series.DAILY, at("2026-11-27T11:00"), asked) == afternoon
    twice = replace(turn, asked_at=afternoon)
    assert next_look_back(Series.DAILY, at("2026-11-27T15:00"), twice) == morning + ONE_DAY
    failed = replace(turn, again_at=at("2026-11-27T10:30"))
    assert next_look_back(Series.DAILY, at("2026-11-27T10:00"), failed) == afternoon


@given(ACCOUNTS, MOMENTS)
def test_a_repair_is_told_when_the_account_may_be_asked(account: str, now: datetime) -> None:
    hours, day = AskingHours(account), civil_date(now) - 9 * ONE_DAY
    mark = DayLedger.parse(f"{day} 1l@1").marks[0]
    turn = Turn(nightly_at=time(6), asked_at=now, last_day=civil_date(now), last_complete=civil_date(now), hours=hours)
    when = next_request(Series.DAILY, day, mark, now, turn)
    assert when is not None and hours.allow(when)
