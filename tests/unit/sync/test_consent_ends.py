"""After the last day of a consent nobody is asked; a new consent closes the gap."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.support.factories import NOW, PretendSupplier, serving_days
from tests.support.metric_counts import MetricGrowth
from tests.support.registries import close_account, make_due_in_all_lanes, record_consent, record_outcome
from tests.support.window_runs import days
from tests.unit.conftest import Household
from worker.accounts.refusals import Ruling
from worker.domain.account import Account, AccountState
from worker.domain.answers import Answer, AnswerKind
from worker.domain.completeness import DayMark, DayState
from worker.domain.consents import ConsentKind
from worker.domain.consistency import Cause, Discrepancy, Law
from worker.domain.incident import IncidentKind, ProbeResult, judge_probe
from worker.domain.messages import WindowJob
from worker.domain.notice import NoticeKind
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, local_midnight
from worker.errors import (
    AccountClosed,
    AccountError,
    ConsentEnded,
    ConsentStopped,
    LoginFailed,
    StoreUnavailable,
    SupplierUnavailable,
    UnknownAccount,
)
from worker.stores.registry.accounts import AccountTable
from worker.stores.registry.tables import ACCOUNTS
from worker.sync.incidents import IncidentProber
from worker.sync.inline import Inline
from worker.sync.verification import AuditResult

TODAY = NOW.astimezone(PARIS).date()
YESTERDAY = TODAY - ONE_DAY
METER = "30001640000011"
SUSPENDED = (AccountState.ACTION_NEEDED, ConsentEnded.code)


def state_of(household: Household, account_id: str) -> tuple[AccountState, str]:
    account = household.registry.accounts.get(account_id)
    return account.state, account.reason


def end_consent(household: Household, account_id: str) -> None:
    """Let the consent of an account that is active end yesterday, without a call and before the nightly task."""
    meter = household.registry.accounts.get(account_id).usage_point_id
    household.registry.accounts.add("enedis", meter, household.at, consent_until=YESTERDAY, token_needed=False)
    assert household.registry.accounts.get(account_id).active


def ended(household: Household, number: int = 11) -> str:
    account_id = household.add(number)
    end_consent(household, account_id)
    return account_id


def in_line(household: Household) -> Inline:
    return Inline(
        claims=household.claims,
        window_sync=household.window_sync,
        results=household.results,
        print_line=lambda line: None,
    )


def next_windows(household: Household) -> list[WindowJob]:
    due = household.due_windows()
    return [job for pair in due.list_histories() for job in due.claim_next_of_history(*pair)]


# How an account comes to be asked: each returns the windows to run, or runs them itself.
WAYS: dict[str, Callable[[Household, str], Iterable[WindowJob]]] = {
    "night": lambda household, _: household.due_windows().claim_night(local_midnight(TODAY)).jobs,
    "catch-up": lambda household, _: household.due_windows().claim_catch_up(local_midnight(TODAY), household.at).jobs,
    "repairs": lambda household, _: household.due_windows().claim_repairs(),
    "histories": lambda household, _: next_windows(household),
    "asked by hand": lambda household, account_id: household.claims.claim_look_backs(account_id),
    "here": lambda household, account_id: [*in_line(household).run_look_back(account_id)] and [],
    "history here": lambda household, account_id: [*in_line(household).run_history(account_id)] and [],
}


@pytest.mark.parametrize("way", WAYS)
def test_by_each_way_an_account_is_asked_on_its_last_day_and_nobody_the_day_after(
    household: Household, way: str
) -> None:
    account_id = household.add_another(TODAY)
    late = {TODAY - 15 * ONE_DAY: DayMark(DayState.LATE, 0, 8)}
    record_outcome(household.registry, account_id, "r", now=household.at, stored=True, days=late)
    for lasts in (True, False):
        household.at = local_midnight(TODAY + (not lasts) * ONE_DAY) + timedelta(hours=18)
        make_due_in_all_lanes(household.registry, household.at - timedelta(hours=1))
        jobs = [*WAYS[way](household, account_id)]
        assert lasts or jobs == [], "nothing is published"
        for job in jobs:
            household.run(job)
        assert bool(household.supplier.asked) is lasts
        household.supplier.asked.clear()
        household.lose_redis()  # What has been asked is no reason to ask nothing.
    assert household.claims.in_flight("nightly") == {} == household.claims.in_flight("repair")


def test_after_its_last_day_a_window_in_flight_asks_nobody_and_the_account_waits(
    household: Household, caplog: pytest.LogCaptureFixture
) -> None:
    account_id, counts = household.add(), MetricGrowth()
    job = household.claim_look_back(account_id, Series.DAILY)
    end_consent(household, account_id)
    before = household.registry.outcomes.load(account_id)
    with caplog.at_level(logging.INFO, "releve.sync"):
        assert household.run(job) is None
    assert household.supplier.asked == []
    assert state_of(household, account_id) == SUSPENDED
    assert household.refusals.registry.pending_refusals.list_for_account(account_id) == []
    assert household.incidents.list_open() == []
    assert household.registry.outcomes.load(account_id) == before, "no turn is over"
    assert household.progress.task_state(account_id, Series.DAILY) == {}, "there was no call"
    assert household.claims.in_flight("nightly") == {}
    assert counts.growth_by_labels("releve_windows_total") == {("consent_ended", "daily"): 1}
    assert METER not in caplog.text
    (notice,) = household.claim_due_notices()
    assert (notice.kind, notice.reason, notice.account_id) == (NoticeKind.ACTION_NEEDED, ConsentEnded.code, account_id)
    household.look_back(account_id)
    assert household.supplier.asked == [] and household.claim_due_notices() == [], "one notice, and no call by hand"


@pytest.mark.parametrize("last_day", [date(2024, 7, 25), date(2024, 1, 25), date(2024, 3, 30), date(2024, 10, 26)])
def test_the_last_minute_of_the_last_day_asks_and_the_first_of_the_next_does_not(
    household: Household, last_day: date
) -> None:
    household.at = local_midnight(last_day + ONE_DAY) - timedelta(minutes=1)
    account_id = household.add_another(last_day)
    household.look_back(account_id)
    assert len(household.supplier.asked) == 2
    household.at = local_midnight(last_day + ONE_DAY)
    household.look_back(account_id)
    assert len(household.supplier.asked) == 2 and state_of(household, account_id) == SUSPENDED


def test_of_a_window_that_lasts_over_midnight_no_further_piece_is_asked_for(household: Household) -> None:
    account_id = household.add_another(TODAY)

    def too_long(window: DateWindow) -> Answer:
        household.at = local_midnight(TODAY + ONE_DAY)
        return Answer(AnswerKind.TOO_LONG)

    def supplier_of(account: Account) -> PretendSupplier:
        if refusal := account.refusal_on(household.history.today()):
            raise refusal
        return household.supplier

    household.supplier.daily = too_long
    household.window_sync = replace(household.window_sync, supplier_of=supplier_of)
    household.look_back(account_id, Series.DAILY)
    assert len(household.supplier.asked) == 1
    assert state_of(household, account_id) == SUSPENDED


def test_after_a_new_consent_the_days_between_are_asked_for(household: Household) -> None:
    account_id = household.add_another(TODAY)
    meter = household.registry.accounts.get(account_id).usage_point_id
    household.supplier.daily = serving_days(days("2024-06-01", *[5000] * 120))
    household.look_back(account_id)
    household.at += timedelta(days=50)
    household.refusals.suspend_ended_consents()
    assert state_of(household, account_id) == SUSPENDED
    due = household.due_windows()
    assert due.claim_night(household.at).jobs == [] == due.list_histories()
    household.supplier.asked.clear()

    household.registry.accounts.add("enedis", meter, household.at, consent_until=date(2025, 9, 13), token_needed=False)
    jobs = due.claim_night(household.at).jobs
    assert {(job["account_id"], job["series"]) for job in jobs} == {
        (account_id, series.value) for series in USUAL_SERIES
    }
    for job in jobs:
        assert household.run(job)
    windows = dict(household.supplier.asked)
    assert windows[Series.DAILY] == DateWindow(TODAY, TODAY + timedelta(days=50))
    ledger = household.registry.completeness.load_ledger(account_id, Series.DAILY)
    between = [TODAY + number * ONE_DAY for number in range(50)]
    assert all(ledger.mark_of(day).complete for day in between)
    assert {pair[0] for pair in due.list_histories()} == {account_id}, "what is older goes on too"


@pytest.mark.parametrize("error", [ConsentStopped("no"), AccountClosed("no")])
def test_what_the_household_stopped_or_another_person_took_over_is_asked_by_nobody(
    household: Household, error: AccountError
) -> None:
    account_id = household.add()
    jobs = [household.claim_look_back(account_id, series) for series in USUAL_SERIES]
    if isinstance(error, ConsentStopped):
        household.consents.withdraw(account_id, household.at)
    else:
        close_account(household.consents, account_id, household.at)
    before = state_of(household, account_id)
    for job in jobs:
        household.run(job)
    household.look_back(account_id)
    assert household.supplier.asked == [] and state_of(household, account_id) == before
    assert household.claim_due_notices() == [] and household.claims.in_flight("nightly") == {}
    assert household.claims.claim_look_backs(account_id) == []


# The nightly task


def test_accounts_that_nobody_asked_for_wait_too_in_pages_and_after_an_interruption(
    household: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AccountTable, "page_ended", partial_page(AccountTable.page_ended))
    over = sorted(ended(household, number) for number in range(11, 18))
    running = household.add_another(TODAY)
    suspend, told = household.refusals.registry.pending_refusals.suspend, list[str]()

    def die_at_the_third(account_id: str, *args: Any, **options: Any) -> bool:
        if len(told) == 2:
            raise StoreUnavailable("the registry went away")
        told.append(account_id)
        return suspend(account_id, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(household.refusals.registry.pending_refusals, "suspend", die_at_the_third)
        with pytest.raises(StoreUnavailable):
            household.refusals.suspend_ended_consents()
    assert [state_of(household, account_id) == SUSPENDED for account_id in over] == [True] * 2 + [False] * 5
    assert household.refusals.suspend_ended_consents() == 5
    assert household.refusals.suspend_ended_consents() == 0
    assert all(state_of(household, account_id) == SUSPENDED for account_id in over)
    assert household.registry.accounts.get(running).active
    assert sorted(notice.account_id or "" for notice in household.claim_due_notices()) == over
    assert household.supplier.asked == []


def test_an_account_that_waits_for_something_else_waits_for_a_new_consent_from_then_on_and_is_told_once(
    household: Household,
) -> None:
    account_id = household.add()
    assert household.refusals.record_refusal(account_id, LoginFailed("no")) is Ruling.SUSPENDED
    household.registry.database.change(update(ACCOUNTS).values(consent_until=YESTERDAY))
    assert household.refusals.suspend_ended_consents() == 1
    assert state_of(household, account_id) == SUSPENDED
    assert len(household.claim_due_notices()) == 1, "of the refusal"
    assert household.refusals.suspend_ended_consents() == 0


def partial_page(page_ended: Callable[..., list[Account]]) -> Callable[..., list[Account]]:
    return lambda registry, today, after=None: page_ended(registry, today, after, limit=3)


def test_one_that_is_removed_meanwhile_stops_no_other(household: Household, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = sorted(ended(household, number) for number in (11, 12))
    page = household.registry.accounts.page_ended(TODAY)
    household.registry.accounts.remove(first, NOW)
    pages = iter([page, list[Account]()])
    monkeypatch.setattr(household.registry.accounts, "page_ended", lambda *_: next(pages))
    assert household.refusals.suspend_ended_consents() == 1
    assert state_of(household, second) == SUSPENDED


# Those that ask by other ways than the lanes


def prober(household: Household) -> IncidentProber:
    return IncidentProber(
        incidents=household.incidents,
        claims=household.claims,
        sync_window=household.window_sync.sync_window,
    )


def test_an_account_whose_consent_is_over_is_no_probe(household: Household) -> None:
    incidents = household.incidents = replace(household.incidents, first_wait_s=0.0)
    accounts = [household.add(number) for number in range(11, 17)]
    for account_id in accounts[:5]:
        incidents.record_failure(
            household.claims.manual_look_back(account_id, Series.DAILY), SupplierUnavailable("500")
        )
    assert [incident.kind for incident in incidents.list_open()] == [IncidentKind.OUTAGE]
    for account_id in accounts[:5]:
        end_consent(household, account_id)
    household.at += timedelta(minutes=1)
    household.supplier.daily = SupplierUnavailable("500")
    prober(household).run()
    assert [series for series, _ in household.supplier.asked] == [Series.DAILY], "the sixth alone is asked"
    end_consent(household, accounts[5])
    household.at += timedelta(hours=1)
    household.supplier.asked.clear()
    prober(household).run()
    assert household.supplier.asked == [] and len(incidents.list_open()) == 1


@pytest.mark.parametrize(
    "error", [ConsentEnded("over"), ConsentStopped("no"), AccountClosed("no"), UnknownAccount("no")]
)
@pytest.mark.parametrize("kind", IncidentKind)
def test_an_account_that_was_not_asked_says_nothing_of_an_incident(kind: IncidentKind, error: AccountError) -> None:
    assert judge_probe(kind, error) is ProbeResult.SAYS_NOTHING


def test_the_audit_asks_for_nothing_where_the_consent_is_over(household: Household) -> None:
    published: list[str] = []
    auditor = household.build_auditor(lambda job: published.append(job["account_id"]))
    over, running = ended(household), household.add_another(TODAY)
    wrong = Discrepancy(Law.DAY, "2024-07-20", 5_000_000, 4_000_000, Cause.UNKNOWN, Series.LOAD_CURVE)
    requested = {home: auditor.repair_account(AuditResult(home, 1, [wrong]))[1] for home in (over, running)}
    assert requested == {over: 0, running: 2} and set(published) == {running}


def test_by_hand_the_reason_is_said_and_nobody_is_asked(household: Household) -> None:
    lines: list[str] = []
    here = replace(in_line(household), print_line=lines.append)
    over = ended(household)
    assert list(here.run_look_back(over)) == [] == list(here.run_history(over))
    assert household.supplier.asked == []
    assert {failure["code"] for failure in here.failures} == {ConsentEnded.code}
    assert all("the consent ended on 2024-07-24: its holder must consent again" in line for line in lines) and lines


def test_reminders_come_before_the_end_and_none_after_the_households_word(household: Household) -> None:
    asked, stopped = household.add_another(TODAY + 5 * ONE_DAY), household.add_another(TODAY + 5 * ONE_DAY)
    household.consents.withdraw(stopped, household.at)
    household.registry.accounts.set_state(stopped, AccountState.PAUSED, now=household.at)
    assert [notice.account_id for notice in household.refusals.insert_reminders()] == [asked]


def at_noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=PARIS)


def test_the_proof_of_a_consent_that_ran_out_ends_with_its_last_day(household: Household) -> None:
    account_id = household.add()
    kind = ConsentKind.AUTORISATION
    record_consent(household.consents, account_id, kind, household.at, reference="900001", consent_until=TODAY)
    household.at = at_noon(TODAY + ONE_DAY)
    household.refusals.suspend_ended_consents()
    household.refusals.apply_retention(keep_days=400)
    (proof,) = household.consents.list_proofs(account_id)
    assert (proof.end_reason, proof.ended_at) == ("expired", local_midnight(TODAY + ONE_DAY))
