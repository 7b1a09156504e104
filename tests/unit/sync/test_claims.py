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
from worker.domain.measures.messages import BACKFILL, new_run_id, split_claim
from worker.domain.measures.readings import ONE_DAY, PARIS, DateWindow, Series
from worker.errors import ConsentRevoked, MalformedAnswer, RateLimited, SupplierUnavailable, WorkerError
from worker.sync.attempts import ATTEMPT_COST, MAX_ATTEMPT_COST, MAX_ATTEMPTS

DAILY, CURVE = Series.DAILY, Series.LOAD_CURVE
TODAY = date(2024, 7, 25)
NIGHT = "nightly:2024-07-25"


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


def test_one_window_of_an_account_is_in_flight_at_a_time(household: Household) -> None:
    account, other = household.add(), household.add(22)
    first = household.claims.claim_backfill(account)
    assert first is not None
    assert household.claims.claim_backfill(account) is None
    assert household.claims.claim_backfill(other) is not None
    household.run(first)
    second = household.claims.claim_backfill(account)
    assert second is not None and second["end"] < first["end"]


def test_an_account_that_is_not_active_has_nothing_due(household: Household) -> None:
    account = household.add()
    household.registry.set_state(account, AccountState.PAUSED, now=household.at)
    assert household.claims.claim_backfill(account) is None
    assert list(household.claims.due_backfills()) == []
    assert list(household.claims.pages_after(None)) == []


def test_a_finished_history_lets_its_claim_go(household: Household) -> None:
    account = household.add()
    household.backfill(account)
    assert not household.progress.is_claimed(account, *BACKFILL.split("/"))
    assert list(household.claims.due_backfills()) == []


def test_a_window_is_tried_five_times_a_day_and_then_left_alone_until_the_next(household: Household) -> None:
    household.supplier.daily = household.supplier.curve = WorkerError("a bug of ours")
    account = household.with_settings(load_curve_days=7).add()
    service = household.with_settings(load_curve_days=7)
    tried = [(job["series"], job["start"]) for job in service.backfill(account)]
    assert len(tried) == 4 * MAX_ATTEMPTS
    assert all(tried.count(window) == MAX_ATTEMPTS for window in set(tried))
    assert service.claims.claim_backfill(account) is None
    assert service.claims.attempts_exhausted(account, DAILY)
    service.at += ONE_DAY
    assert not service.claims.attempts_exhausted(account, DAILY)
    assert len(service.backfill(account)) == 4 * MAX_ATTEMPTS


def test_an_outage_of_the_supplier_takes_longer_to_end_the_days_tries(household: Household) -> None:
    household.supplier.daily = household.supplier.curve = SupplierUnavailable("down")
    service = household.with_settings(load_curve_days=7)
    tried = [(job["series"], job["start"]) for job in service.backfill(service.add())]
    assert len(tried) == 4 * (MAX_ATTEMPT_COST - ATTEMPT_COST + 1)


def test_what_asking_again_cannot_cure_is_tried_once_a_day(household: Household) -> None:
    household.supplier.daily = household.supplier.curve = MalformedAnswer("odd")
    assert len(household.backfill(household.add())) == 7


def test_waiting_for_quota_is_nobodys_failure(household: Household) -> None:
    household.supplier.daily = RateLimited("wait")
    account = household.add()
    for _ in range(3 * MAX_ATTEMPTS):
        job = household.claims.claim_backfill(account)
        assert job is not None and job["series"] == "daily"
        household.run(job)


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
    assert list(household.claims.due_backfills()) == []


def test_who_is_let_in_again_waits_for_nothing(household: Household) -> None:
    """A claim that holds a window back after a refusal is deleted, and a claim of a window in flight is not."""
    home, claims, progress = household.add(), household.claims, household.progress
    held_job, under_way = (
        claims.claim_backfill(home),
        claims.claim_look_back(home, Series.DAILY, "nightly:2024-07-25"),
    )
    assert held_job and under_way
    progress.hold_claim(home, *split_claim(BACKFILL), holder=held_job["run_id"])
    claims.clear_retry_delays(home)
    assert claims.claim_backfill(home) is not None
    assert claims.claim_look_back(home, Series.DAILY, "nightly:2024-07-25") is None


def test_a_lost_message_heals_when_its_claim_expires(household: Household) -> None:
    service = household.with_settings(claim_ttl_s=1)
    account = service.add()
    lost_job = service.claims.claim_backfill(account)
    assert lost_job is not None
    assert list(service.claims.due_backfills()) == []
    until = time.monotonic() + 5
    while not list(service.claims.due_backfills()) and time.monotonic() < until:
        time.sleep(0.05)
    next_job = service.claims.claim_backfill(account)
    assert next_job is not None
    assert (next_job["start"], next_job["end"]) == (lost_job["start"], lost_job["end"])


def test_a_history_is_due_until_loaded_and_again_when_the_look_back_no_longer_reaches_it(household: Household) -> None:
    account = household.add()
    assert list(household.claims.due_backfills()) == [account]
    household.backfill(account)
    household.at += timedelta(days=7)
    assert list(household.claims.due_backfills()) == []
    household.at += ONE_DAY
    assert list(household.claims.due_backfills()) == [account]
    assert [(job["start"], job["end"]) for job in household.backfill(account)] == [
        ("2024-07-25", "2024-08-02"),
        ("2024-07-26", "2024-08-02"),
        ("2024-07-25", "2024-07-26"),
    ]


def test_a_look_back_is_published_once_a_run_and_is_another_one_the_next_day(household: Household) -> None:
    account = household.add()
    job = household.claims.claim_look_back(account, CURVE, NIGHT)
    assert job is not None
    assert (job["start"], job["end"], job["claim"]) == ("2024-07-18", "2024-07-25", f"load_curve/{NIGHT}")
    assert household.claims.claim_look_back(account, CURVE, NIGHT) is None
    assert household.claims.claim_look_back(account, DAILY, NIGHT) is not None
    assert (
        household.claims.claim_look_back(account, CURVE, "nightly:2024-07-26") is None
    )  # The first serves that night too.
    household.claims.release_claim(account, str(job["claim"]), job["run_id"])
    assert household.claims.claim_look_back(account, CURVE, "nightly:2024-07-26") is not None


def test_a_look_back_that_failed_five_times_is_quiet_until_the_next_day(household: Household) -> None:
    household.supplier.daily = WorkerError("a bug of ours")
    account = household.add()
    for _ in range(MAX_ATTEMPTS):
        job = household.claims.claim_look_back(account, DAILY, NIGHT)
        assert job is not None
        household.run(job)
    assert household.claims.claim_look_back(account, DAILY, NIGHT) is None
    assert not household.progress.is_claimed(account, *split_claim(f"daily/{NIGHT}"))
    household.at += ONE_DAY
    assert household.claims.claim_look_back(account, DAILY, "nightly:2024-07-26") is not None


def test_a_run_has_done_what_it_has_stored_whatever_else_was_stored_since(household: Household) -> None:
    account = household.add()
    pages = list(household.claims.pages_after(None))
    assert list(household.claims.due_look_backs(pages[0], NIGHT)) == [(account, DAILY), (account, CURVE)]
    for series in Series:
        job = household.claims.claim_look_back(account, series, NIGHT)
        assert job is not None
        household.run(job)
    assert list(household.claims.due_look_backs(pages[0], NIGHT)) == []
    household.backfill(account)  # A history that goes on after the night does not undo the night.
    job = household.claims.claim_look_back(account, DAILY, "catch-up:2024-07-25T14")
    assert job is not None
    household.run(job)
    assert list(household.claims.due_look_backs(pages[0], NIGHT)) == []
    assert len(list(household.claims.due_look_backs(pages[0], "nightly:2024-07-26"))) == 2


def test_yesterday_is_lacking_until_a_reading_of_it_is_stored(household: Household) -> None:
    account = household.add()
    pages = list(household.claims.pages_after(None))
    assert list(household.claims.find_missing_yesterday(pages[0])) == [(account, DAILY), (account, CURVE)]
    for last, lacking in ((TODAY - 2 * ONE_DAY, [DAILY, CURVE]), (TODAY - ONE_DAY, [CURVE])):
        household.supplier.daily = serving_days({last: 5000})
        household.run(household.claims.manual_look_back(account, DAILY))
        assert list(household.claims.find_missing_yesterday(pages[0])) == [(account, series) for series in lacking]


def test_today_is_the_meter_s_whatever_the_worker_s_clock_says(household: Household) -> None:
    household.at = household.at.replace(hour=22, minute=30)
    assert household.claims.today() == date(2024, 7, 26)


def test_pages_hold_every_active_account_once_from_any_cursor_on(household: Household) -> None:
    accounts = sorted(household.add(number) for number in range(10, 16))
    assert [account.id for page in household.claims.pages_after(None) for account in page] == accounts
    assert [account.id for page in household.claims.pages_after(accounts[2]) for account in page] == accounts[3:]


def test_run_ids_sort_as_time_does(household: Household) -> None:
    moments = [household.at + timedelta(microseconds=number * 250_000) for number in range(8)]
    assert [new_run_id(moment) for moment in moments] == sorted({new_run_id(moment) for moment in moments})


def test_a_turn_that_a_night_left_out_is_due_in_the_next(household: Household) -> None:
    policy, home = FleetPolicy(curve_every=7), household.add()

    def asked(night: date) -> None:
        at = datetime.combine(night, time_of_day(9), PARIS)
        window = DateWindow(night - timedelta(days=7), night)
        household.progress.record_night(home, Series.LOAD_CURVE, night, Call(at, window, AnswerClass.DATA))

    today = household.claims.today()
    turn = policy.last_turn(home, Series.LOAD_CURVE, today + timedelta(days=7))
    asked(turn - timedelta(days=7))
    page = household.claims.page_after(None)

    def due(night: date) -> set[Series]:
        return {series for _, series in household.claims.due_look_backs(page, f"nightly:{night}", policy)}

    assert Series.LOAD_CURVE not in due(turn - timedelta(days=1))
    assert Series.LOAD_CURVE in due(turn)
    assert Series.LOAD_CURVE in due(turn + timedelta(days=1)), "nobody asked in the night before"
    asked(turn + timedelta(days=1))
    assert Series.LOAD_CURVE not in due(turn + timedelta(days=2))
