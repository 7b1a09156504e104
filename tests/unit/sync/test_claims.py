"""Claims on windows: one window of a series in flight, confirmed before the supplier is asked."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import date, timedelta

import pytest

from tests.support.factories import Answer, AnswerKind, curve_of, serving_curves, serving_days
from tests.unit.conftest import Household
from worker.domain.account import AccountState
from worker.domain.messages import BACKFILL, LOOK_BACK, new_run_id
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY
from worker.errors import ConsentRevoked, MalformedAnswer
from worker.stores.redis.claims import member_of, series_of_member

DAILY, CURVE = Series.DAILY, Series.LOAD_CURVE
TODAY = date(2024, 7, 25)


def test_a_history_is_asked_daily_values_first_and_newest_first(household: Household) -> None:
    tried = household.backfill(household.add())
    assert [(job["series"], job["end"]) for job in tried] == [
        ("daily", "2024-07-25"),
        ("daily", "2023-07-26"),
        ("daily", "2022-07-26"),
        ("load_curve", "2024-07-25"),
        ("load_curve", "2024-07-18"),
        ("load_curve", "2024-07-11"),
        ("load_curve", "2024-07-04"),
    ]


def test_one_window_of_a_series_is_in_flight_at_a_time(household: Household) -> None:
    account, other = household.add(), household.add(22)
    first = household.claim_history(account)
    assert household.claims.claim_history(account, DAILY) is None
    assert household.claims.claim_history(account, CURVE) is not None
    assert household.claims.claim_history(other, DAILY) is not None
    assert len(household.claims.in_flight("first_screen")) == 2
    household.run(first)
    assert household.claim_history(account)["end"] < first["end"]


def test_an_account_that_is_not_active_has_nothing_due(household: Household) -> None:
    account = household.add()
    household.registry.accounts.set_state(account, AccountState.PAUSED, now=household.at)
    assert household.backfill(account) == []
    household.registry.accounts.set_state(account, AccountState.READY, now=household.at)
    assert household.backfill(account) != []


def test_a_failing_load_curve_does_not_hold_up_daily_values_nor_the_other_way_round(household: Household) -> None:
    daily = {TODAY - number * ONE_DAY: 5000 for number in range(1, 1096)}
    curve = {TODAY - number * ONE_DAY: curve_of(TODAY - number * ONE_DAY, 100) for number in range(1, 29)}
    for broken, whole in ((CURVE, DAILY), (DAILY, CURVE)):
        household.supplier.daily = serving_days(daily) if broken is CURVE else MalformedAnswer("odd")
        household.supplier.curve = serving_curves(curve) if broken is DAILY else MalformedAnswer("odd")
        account = household.add(11 if broken is CURVE else 22)
        household.backfill(account)
        assert [household.is_loaded(account, series) for series in (whole, broken)] == [True, False]


def test_a_curve_that_is_not_collected_is_a_finished_history_without_readings(household: Household) -> None:
    household.supplier.curve = Answer(AnswerKind.NO_DATA)
    account = household.add()
    household.backfill(account)
    assert household.is_loaded(account, CURVE)


def test_an_account_whose_consent_ended_is_not_asked_for_again(household: Household) -> None:
    household.supplier.daily = ConsentRevoked("gone")
    account = household.add()
    tried = [job["series"] for job in household.backfill(account)]
    assert tried.count("daily") == 1
    assert household.histories(DAILY) == []


def test_a_lost_message_heals_when_its_claim_expires(household: Household) -> None:
    service = household.with_settings(claim_ttl_s=1)
    account = service.add()
    lost_job = service.claim_history(account)
    until, next_job = time.monotonic() + 5, None
    while next_job is None and time.monotonic() < until:
        next_job = service.claims.claim_history(account, DAILY)
        time.sleep(0.05)
    assert next_job is not None
    assert (next_job["start"], next_job["end"]) == (lost_job["start"], lost_job["end"])


def test_all_kinds_of_look_backs_share_one_claim(household: Household) -> None:
    account = household.add()
    job = household.claim_look_back(account, DAILY)
    assert household.claims.claim(LOOK_BACK, [(account, DAILY)]) == {}
    household.run(job)
    assert household.claims.claim(LOOK_BACK, [(account, DAILY)]) != {}


def test_a_look_back_that_waited_reaches_up_to_the_present_day(household: Household) -> None:
    account = household.add()
    job = household.claim_look_back(account, DAILY)
    household.at += timedelta(days=2)
    confirmed = household.claims.confirm(job)
    assert confirmed is not None
    assert (confirmed["start"], confirmed["end"], confirmed["claim"]) == ("2024-06-25", "2024-07-27", job["claim"])


def test_a_message_that_came_twice_asks_nothing_once_its_window_is_done(household: Household) -> None:
    account = household.add()
    job = household.claim_look_back(account, DAILY)
    assert household.claims.confirm(job) is not None, "while it is under way, nobody can tell"
    household.run(job)
    assert household.claims.confirm(job) is None
    household.at += ONE_DAY
    following = household.claim_look_back(account, DAILY)
    assert household.claims.confirm(job) is None, "another window has the claim"
    assert household.claims.confirm(following) is not None


def test_a_history_s_message_that_came_twice_asks_nothing(household: Household) -> None:
    account = household.add()
    job = household.claim_history(account)
    household.run(job)
    assert household.claims.confirm(job) is None


def test_a_message_whose_claim_is_gone_is_asked_under_a_new_one(household: Household) -> None:
    account = household.add()
    job = household.claim_look_back(account, DAILY)
    household.lose_redis()
    confirmed = household.claims.confirm(job)
    assert confirmed is not None and confirmed["claim"] != job["claim"]
    assert confirmed["run_id"] == job["run_id"]
    assert household.claims.confirm(job) is None, "the second message of two"


def test_a_window_of_a_history_that_is_done_by_now_is_not_asked_again_and_leaves_no_claim(
    household: Household,
) -> None:
    """Version 0.2.0 publishes windows that this one has stored."""
    account = household.add()
    job = household.claim_history(account)
    household.run(job)
    claim = household.claims.claim(BACKFILL, [(account, DAILY)])[account, DAILY]
    assert household.claims.confirm({**job, "claim": claim}) is None
    assert household.claims.in_flight("first_screen") == {}


def test_lost_claims_are_those_that_no_message_names(household: Household) -> None:
    accounts = [household.add(number) for number in (11, 22, 33)]
    jobs = [household.claim_history(account) for account in accounts]
    words = {str(job["claim"]).partition("/")[2] for job in jobs[1:]}
    for words_in_broker, left in ((None, 3), (words, 2), (set(), 0)):
        claims = replace(household.claims, words_in_broker=lambda words=words_in_broker: words)
        assert claims.drop_lost("first_screen") == 0, "young claims may be on their way"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("worker.sync.claims.LOST_AFTER_S", 0.0)
            claims.drop_lost("first_screen")
        assert len(household.claims.in_flight("first_screen")) == left


def test_a_window_by_hand_needs_no_claim(household: Household) -> None:
    job = household.claims.manual_look_back(household.add(), DAILY)
    assert (job["claim"], household.claims.confirm(job)) == (None, job)
    household.claims.release([job])


def test_today_is_the_meter_s_whatever_the_worker_s_clock_says(household: Household) -> None:
    household.at = household.at.replace(hour=22, minute=30)
    assert household.history.today() == date(2024, 7, 26)


def test_run_ids_sort_as_time_does(household: Household) -> None:
    moments = [household.at + timedelta(microseconds=number * 250_000) for number in range(8)]
    assert [new_run_id(moment) for moment in moments] == sorted({new_run_id(moment) for moment in moments})


def test_what_is_in_flight_tells_its_series() -> None:
    """A supplier's lanes count the windows of its own series alone."""
    assert [series_of_member(member_of("acc", series)) for series in Series] == list(Series)
