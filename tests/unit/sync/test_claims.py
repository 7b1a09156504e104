"""What work is due: told by what is remembered, never by a message."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta
from datetime import time as time_of_day

from tests.support.factories import Answer, AnswerKind, curve_of, serving_curves, serving_days
from tests.unit.conftest import Household
from worker.domain.consent.accounts import AccountState
from worker.domain.fleet.outcomes import AnswerClass, Call
from worker.domain.fleet.policy import FleetPolicy
from worker.domain.measures.messages import split_claim
from worker.domain.measures.readings import ONE_DAY, PARIS, DateWindow, Series
from worker.errors import ConsentRevoked, MalformedAnswer, RateLimited, SupplierUnavailable, WorkerError
from worker.sync.claims import BACKFILL, new_run_id
from worker.sync.results import MOST_ATTEMPTS, MOST_COST, TRY

DAILY, CURVE = Series.DAILY, Series.LOAD_CURVE
TODAY = date(2024, 7, 25)
NIGHT = "nightly:2024-07-25"


def test_a_history_is_asked_daily_values_first_and_newest_first(household: Household) -> None:
    tried = household.backfill(household.add())
    assert [(origin["series"], origin["end"]) for origin in tried] == [
        ("daily", "2024-07-25"),
        ("daily", "2023-07-26"),
        ("daily", "2022-07-26"),
        ("load_curve", "2024-07-25"),
        ("load_curve", "2024-07-18"),
        ("load_curve", "2024-07-11"),
        ("load_curve", "2024-07-04"),
    ]


def test_one_window_of_an_account_is_in_flight_at_a_time(household: Household) -> None:
    account, other = household.add(), household.add(22)
    first = household.dispatcher.claim_backfill(account)
    assert first is not None
    assert household.dispatcher.claim_backfill(account) is None
    assert household.dispatcher.claim_backfill(other) is not None
    household.run(first)
    second = household.dispatcher.claim_backfill(account)
    assert second is not None and second["end"] < first["end"]


def test_an_account_that_is_not_active_has_nothing_due(household: Household) -> None:
    account = household.add()
    household.registry.set_state(account, AccountState.PAUSED, now=household.at)
    assert household.dispatcher.claim_backfill(account) is None
    assert list(household.dispatcher.due_backfills()) == []
    assert list(household.dispatcher.pages_after(None)) == []


def test_a_finished_history_lets_its_claim_go(household: Household) -> None:
    account = household.add()
    household.backfill(account)
    assert not household.state.is_claimed(account, *BACKFILL.split("/"))
    assert list(household.dispatcher.due_backfills()) == []


def test_a_window_is_tried_five_times_a_day_and_then_left_alone_until_the_next(household: Household) -> None:
    household.supplier.daily = household.supplier.curve = WorkerError("a bug of ours")
    account = household.with_settings(load_curve_days=7).add()
    house = household.with_settings(load_curve_days=7)
    tried = [(origin["series"], origin["start"]) for origin in house.backfill(account)]
    assert len(tried) == 4 * MOST_ATTEMPTS
    assert all(tried.count(one) == MOST_ATTEMPTS for one in set(tried))
    assert house.dispatcher.claim_backfill(account) is None
    assert house.dispatcher.given_up(account, DAILY)
    house.at += ONE_DAY
    assert not house.dispatcher.given_up(account, DAILY)
    assert len(house.backfill(account)) == 4 * MOST_ATTEMPTS


def test_an_outage_of_the_supplier_takes_longer_to_end_the_days_tries(household: Household) -> None:
    household.supplier.daily = household.supplier.curve = SupplierUnavailable("down")
    house = household.with_settings(load_curve_days=7)
    tried = [(origin["series"], origin["start"]) for origin in house.backfill(house.add())]
    assert len(tried) == 4 * (MOST_COST - TRY + 1)


def test_what_asking_again_cannot_cure_is_tried_once_a_day(household: Household) -> None:
    household.supplier.daily = household.supplier.curve = MalformedAnswer("odd")
    assert len(household.backfill(household.add())) == 7


def test_waiting_for_quota_is_nobodys_failure(household: Household) -> None:
    household.supplier.daily = RateLimited("wait")
    account = household.add()
    for _ in range(3 * MOST_ATTEMPTS):
        origin = household.dispatcher.claim_backfill(account)
        assert origin is not None and origin["series"] == "daily"
        household.run(origin)


def test_a_failing_load_curve_does_not_hold_up_daily_values_nor_the_other_way_round(household: Household) -> None:
    daily = {TODAY - number * ONE_DAY: 5000 for number in range(1, 1096)}
    curve = {TODAY - number * ONE_DAY: curve_of(TODAY - number * ONE_DAY, 100) for number in range(1, 29)}
    for broken, whole in ((CURVE, DAILY), (DAILY, CURVE)):
        household.supplier.daily = serving_days(daily) if broken is CURVE else MalformedAnswer("odd")
        household.supplier.curve = serving_curves(curve) if broken is DAILY else MalformedAnswer("odd")
        account = household.add(11 if broken is CURVE else 22)
        household.backfill(account)
        assert household.history.loaded_until(account, whole) == TODAY
        assert household.history.loaded_until(account, broken) is None


def test_a_curve_that_is_not_collected_is_a_finished_history_without_readings(household: Household) -> None:
    household.supplier.curve = Answer(AnswerKind.NO_DATA)
    account = household.add()
    household.backfill(account)
    assert household.history.loaded_until(account, CURVE) == TODAY


def test_an_account_whose_consent_ended_is_not_asked_for_again(household: Household) -> None:
    household.supplier.daily = ConsentRevoked("gone")
    account = household.add()
    assert len(household.backfill(account)) == 1
    assert list(household.dispatcher.due_backfills()) == []


def test_who_is_let_in_again_waits_for_nothing(household: Household) -> None:
    """What a doubt left alone for an hour and a half, and what is under way, are told apart."""
    home, dispatcher, state = household.add(), household.dispatcher, household.state
    held, under_way = (
        dispatcher.claim_backfill(home),
        dispatcher.claim_look_back(home, Series.DAILY, "nightly:2024-07-25"),
    )
    assert held and under_way
    state.keep(home, *split_claim(BACKFILL), holder=held["run_id"])
    dispatcher.readmit(home)
    assert dispatcher.claim_backfill(home) is not None
    assert dispatcher.claim_look_back(home, Series.DAILY, "nightly:2024-07-25") is None


def test_a_lost_message_heals_when_its_claim_expires(household: Household) -> None:
    house = household.with_settings(claim_ttl_s=1)
    account = house.add()
    lost = house.dispatcher.claim_backfill(account)
    assert lost is not None
    assert list(house.dispatcher.due_backfills()) == []
    until = time.monotonic() + 5
    while not list(house.dispatcher.due_backfills()) and time.monotonic() < until:
        time.sleep(0.05)
    again = house.dispatcher.claim_backfill(account)
    assert again is not None
    assert (again["start"], again["end"]) == (lost["start"], lost["end"])


def test_a_history_is_due_until_loaded_and_again_when_the_look_back_no_longer_reaches_it(household: Household) -> None:
    account = household.add()
    assert list(household.dispatcher.due_backfills()) == [account]
    household.backfill(account)
    household.at += timedelta(days=7)
    assert list(household.dispatcher.due_backfills()) == []
    household.at += ONE_DAY
    assert list(household.dispatcher.due_backfills()) == [account]
    assert [(origin["start"], origin["end"]) for origin in household.backfill(account)] == [
        ("2024-07-25", "2024-08-02"),
        ("2024-07-26", "2024-08-02"),
        ("2024-07-25", "2024-07-26"),
    ]


def test_a_look_back_is_published_once_a_run_and_is_another_one_the_next_day(household: Household) -> None:
    account = household.add()
    origin = household.dispatcher.claim_look_back(account, CURVE, NIGHT)
    assert origin is not None
    assert (origin["start"], origin["end"], origin["claim"]) == ("2024-07-18", "2024-07-25", f"load_curve/{NIGHT}")
    assert household.dispatcher.claim_look_back(account, CURVE, NIGHT) is None
    assert household.dispatcher.claim_look_back(account, DAILY, NIGHT) is not None
    assert household.dispatcher.claim_look_back(account, CURVE, "nightly:2024-07-26") is None  # it serves that one too
    household.dispatcher.release(account, str(origin["claim"]), origin["run_id"])
    assert household.dispatcher.claim_look_back(account, CURVE, "nightly:2024-07-26") is not None


def test_a_look_back_that_failed_five_times_is_quiet_until_the_next_day(household: Household) -> None:
    household.supplier.daily = WorkerError("a bug of ours")
    account = household.add()
    for _ in range(MOST_ATTEMPTS):
        origin = household.dispatcher.claim_look_back(account, DAILY, NIGHT)
        assert origin is not None
        household.run(origin)
    assert household.dispatcher.claim_look_back(account, DAILY, NIGHT) is None
    assert not household.state.is_claimed(account, *split_claim(f"daily/{NIGHT}"))
    household.at += ONE_DAY
    assert household.dispatcher.claim_look_back(account, DAILY, "nightly:2024-07-26") is not None


def test_a_run_has_done_what_it_has_stored_whatever_else_was_stored_since(household: Household) -> None:
    account = household.add()
    pages = list(household.dispatcher.pages_after(None))
    assert list(household.dispatcher.due_look_backs(pages[0], NIGHT)) == [(account, DAILY), (account, CURVE)]
    for series in Series:
        origin = household.dispatcher.claim_look_back(account, series, NIGHT)
        assert origin is not None
        household.run(origin)
    assert list(household.dispatcher.due_look_backs(pages[0], NIGHT)) == []
    household.backfill(account)  # a history that goes on after the night does not make it undone
    origin = household.dispatcher.claim_look_back(account, DAILY, "catch-up:2024-07-25T14")
    assert origin is not None
    household.run(origin)
    assert list(household.dispatcher.due_look_backs(pages[0], NIGHT)) == []
    assert len(list(household.dispatcher.due_look_backs(pages[0], "nightly:2024-07-26"))) == 2


def test_yesterday_is_lacking_until_a_reading_of_it_is_stored(household: Household) -> None:
    account = household.add()
    pages = list(household.dispatcher.pages_after(None))
    assert list(household.dispatcher.lacking_yesterday(pages[0])) == [(account, DAILY), (account, CURVE)]
    for last, lacking in ((TODAY - 2 * ONE_DAY, [DAILY, CURVE]), (TODAY - ONE_DAY, [CURVE])):
        household.supplier.daily = serving_days({last: 5000})
        household.run(household.dispatcher.look_back_now(account, DAILY))
        assert list(household.dispatcher.lacking_yesterday(pages[0])) == [(account, series) for series in lacking]


def test_today_is_the_meter_s_whatever_the_worker_s_clock_says(household: Household) -> None:
    household.at = household.at.replace(hour=22, minute=30)
    assert household.dispatcher.today() == date(2024, 7, 26)


def test_pages_hold_every_active_account_once_from_any_cursor_on(household: Household) -> None:
    accounts = sorted(household.add(number) for number in range(10, 16))
    assert [account.id for page in household.dispatcher.pages_after(None) for account in page] == accounts
    assert [account.id for page in household.dispatcher.pages_after(accounts[2]) for account in page] == accounts[3:]


def test_run_ids_sort_as_time_does(household: Household) -> None:
    moments = [household.at + timedelta(microseconds=number * 250_000) for number in range(8)]
    assert [new_run_id(moment) for moment in moments] == sorted({new_run_id(moment) for moment in moments})


def test_a_turn_that_a_night_left_out_is_due_in_the_next(household: Household) -> None:
    policy, home = FleetPolicy(curve_every=7), household.add()

    def asked(night: date) -> None:
        at = datetime.combine(night, time_of_day(9), PARIS)
        window = DateWindow(night - timedelta(days=7), night)
        household.state.note_night(home, Series.LOAD_CURVE, night, Call(at, window, AnswerClass.DATA))

    today = household.dispatcher.today()
    turn = policy.last_turn(home, Series.LOAD_CURVE, today + timedelta(days=7))
    asked(turn - timedelta(days=7))
    page = household.dispatcher.page_after(None)

    def due(night: date) -> set[Series]:
        return {series for _, series in household.dispatcher.due_look_backs(page, f"nightly:{night}", policy)}

    assert Series.LOAD_CURVE not in due(turn - timedelta(days=1))
    assert Series.LOAD_CURVE in due(turn)
    assert Series.LOAD_CURVE in due(turn + timedelta(days=1)), "nobody asked in the night before"
    asked(turn + timedelta(days=1))
    assert Series.LOAD_CURVE not in due(turn + timedelta(days=2))
