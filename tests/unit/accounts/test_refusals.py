"""Refusals: which suspend an account, which wait for a second one, and which are an incident of the supplier."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.profiles import examples
from tests.support.registries import record_consent, record_outcome
from tests.unit.conftest import Household, new_household, open_household
from worker.accounts.refusals import CONFIRMATION_INTERVAL, Ruling
from worker.domain.account import AccountState
from worker.domain.consents import ConsentKind
from worker.domain.notice import NoticeKind
from worker.domain.series import Series
from worker.errors import (
    AccountError,
    ConsentRevoked,
    HolderChanged,
    LoginFailed,
    RefreshAnswerLost,
    RefreshTokenDead,
    UnknownAccount,
    UnknownUsagePoint,
)
from worker.stores.database import Database

HOUR = timedelta(hours=1)
REVOKED, MOVED = ConsentRevoked("no consent"), HolderChanged("moved")


@dataclass
class PolicyHarness(Household):
    """A service with two channels of notices; ``at`` is its time."""

    settings: Mapping[str, Any] = field(
        default_factory=lambda: {
            "webhook_url": "https://example.org",
            "webhook_secret": "s" * 32,
            "notify_url": "ntfy://x",
        }
    )

    def refuse(self, account: str, error: AccountError = REVOKED) -> Ruling:
        """Record a refusal and then the outcome, in the order of ``ResultRecorder``."""
        incident = self.incidents.record_excused(error, Series.DAILY)
        ruling = self.refusals.record_refusal(account, error, during_incident=incident is not None)
        self.record_outcome(account, error.code)
        return ruling

    def record_outcome(self, account: str, code: str | None = None) -> None:
        record_outcome(self.registry, account, self.at.isoformat(), now=self.at, code=code)

    def state(self, account: str) -> AccountState:
        return self.registry.accounts.get(account).state

    def suspended_accounts(self) -> list[str]:
        return [account.id for account in self.registry.accounts.list_accounts([AccountState.ACTION_NEEDED])]


@pytest.fixture(scope="module")
def shared(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PolicyHarness]:
    """Return one harness for all examples of a property; each example adds accounts of its own."""
    with open_household(redis_url, tmp_path_factory.mktemp("refusals"), PolicyHarness) as opened:
        yield opened


@pytest.fixture
def harness(redis_url: str, household_database: Database) -> Iterator[PolicyHarness]:
    with new_household(redis_url, household_database, PolicyHarness) as opened:
        yield opened


# Pending refusals.


def test_a_consent_refused_twice_within_five_hours_does_nothing(harness: PolicyHarness) -> None:
    account = harness.add_another()
    for _ in range(6):
        assert harness.refuse(account) is Ruling.PENDING
        harness.at += HOUR
    assert harness.state(account) is AccountState.READY
    assert harness.notices.list_for_account(account) == []
    assert harness.refuse(account) is Ruling.SUSPENDED
    assert harness.state(account) is AccountState.ACTION_NEEDED


def test_an_account_set_aside_tells_its_owner_once_over_each_channel(harness: PolicyHarness) -> None:
    account = harness.add_another()
    harness.refuse(account, RefreshTokenDead("dead"))
    harness.at += 7 * HOUR
    for error in (
        RefreshTokenDead("dead"),
        REVOKED,
        LoginFailed("refused"),
        MOVED,
    ):  # Somebody syncs by hand, again and again.
        assert harness.refuse(account, error) is Ruling.SUSPENDED
    notices = harness.notices.list_for_account(account)
    assert sorted(notice.channel for notice in notices) == ["ntfy", "webhook"]
    assert {(notice.kind, notice.reason) for notice in notices} == {
        (NoticeKind.ACTION_NEEDED, "USER_ACTION_NEEDED.OAUTH_OUTDATED")
    }


def test_an_account_set_aside_again_is_told_again_and_needs_two_sightings_again(harness: PolicyHarness) -> None:
    account = harness.add_another()
    for _ in range(2):
        assert harness.refuse(account) is Ruling.PENDING
        harness.at += CONFIRMATION_INTERVAL
        assert harness.refuse(account) is Ruling.SUSPENDED
        harness.registry.accounts.set_state(account, AccountState.READY, now=harness.at)
    assert len(harness.notices.list_for_account(account)) == 4


def test_a_paused_account_stays_paused_and_its_owner_is_told_once(harness: PolicyHarness) -> None:
    account = harness.add_another()
    harness.registry.accounts.set_state(account, AccountState.PAUSED, now=harness.at)
    for _ in range(3):
        harness.refuse(account, RefreshTokenDead("dead"))
    assert harness.state(account) is AccountState.PAUSED
    assert len(harness.notices.list_for_account(account)) == 2


def test_the_two_doubts_of_an_account_do_not_add_up(harness: PolicyHarness) -> None:
    account = harness.add_another()
    harness.refuse(account, REVOKED)
    harness.at += CONFIRMATION_INTERVAL
    assert harness.refuse(account, MOVED) is Ruling.PENDING
    assert harness.refuse(account, REVOKED) is Ruling.SUSPENDED


def test_a_clock_set_back_settles_nothing(harness: PolicyHarness) -> None:
    account = harness.add_another()
    harness.refuse(account)
    harness.at -= 12 * HOUR
    assert harness.refuse(account) is Ruling.PENDING
    harness.at += 12 * HOUR + CONFIRMATION_INTERVAL
    assert harness.refuse(account) is Ruling.SUSPENDED


def test_a_refused_consent_ends_in_the_book_and_a_lost_holder_s_does_not(harness: PolicyHarness) -> None:
    revoked, moved = harness.add_another(), harness.add_another()
    for account, error in ((revoked, REVOKED), (moved, MOVED)):
        record_consent(harness.consents, account, ConsentKind.USAGE_POINT, harness.at)
        harness.refuse(account, error)
    harness.at += CONFIRMATION_INTERVAL
    harness.refuse(revoked, REVOKED)
    harness.refuse(moved, MOVED)
    assert [proof.end_reason for proof in harness.consents.list_proofs(revoked)] == [
        "USER_ACTION_NEEDED.OAUTH_OUTDATED"
    ]
    assert harness.consents.list_proofs(moved)[0].open


def test_a_removed_account_is_refused(harness: PolicyHarness) -> None:
    account = harness.add_another()
    harness.registry.accounts.remove(account, harness.at)
    for error in (REVOKED, LoginFailed("refused")):
        with pytest.raises(UnknownAccount):
            harness.refusals.record_refusal(account, error)


@settings(max_examples=examples(40))
@given(st.lists(st.tuples(st.sampled_from(["refused", "fine"]), st.integers(0, 8)), max_size=10))
def test_an_account_is_set_aside_when_refused_twice_six_hours_apart_without_a_success_between(
    shared: PolicyHarness, events: list[tuple[str, int]]
) -> None:
    account, first, expected = shared.add_another(), None, False
    for event, hours in events:
        shared.at += hours * HOUR
        if event == "fine":
            shared.record_outcome(account)
            first = None
        else:
            shared.refuse(account)
            first = first or shared.at
            expected = expected or shared.at - first >= CONFIRMATION_INTERVAL
        assert (shared.state(account) is AccountState.ACTION_NEEDED) is expected
        if expected:
            break


# Incidents: many accounts are refused alike.


@pytest.mark.parametrize("seed", [pytest.param(0, marks=pytest.mark.rest), 1, 2])
def test_an_incident_over_a_hundred_accounts_sets_nobody_aside_however_long_and_in_whatever_order(
    harness: PolicyHarness, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    accounts, chance = [harness.add_another() for _ in range(100)], random.Random(seed)
    with caplog.at_level(logging.ERROR, "releve.incidents"):
        for pause in (6, 18, 24):
            chance.shuffle(accounts)
            for account in accounts[: 100 if seed < 2 else 30]:
                harness.refuse(account, MOVED)
                harness.at += timedelta(seconds=20)
            assert harness.suspended_accounts() == []
            harness.at += pause * HOUR
    assert [account.id for account in harness.registry.accounts.list_accounts([AccountState.READY])] == sorted(accounts)
    assert all(harness.notices.list_for_account(account) == [] for account in accounts)
    notices = harness.claim_due_notices()
    assert [(notice.kind, notice.reason, notice.account_id) for notice in notices] == [
        (NoticeKind.INCIDENT, "holder", None)
    ] * 2  # One for each channel.
    assert caplog.messages == ["incident open"]


@pytest.mark.parametrize("error", [MOVED, REVOKED, RefreshTokenDead("dead"), LoginFailed("no"), UnknownUsagePoint("?")])
def test_whatever_the_refusal_those_set_aside_before_it_was_known_are_set_back_with_their_consent(
    harness: PolicyHarness, error: AccountError
) -> None:
    accounts = [harness.add_another() for _ in range(30)]
    for account in accounts:
        record_consent(harness.consents, account, ConsentKind.USAGE_POINT, harness.at)
    rulings = [harness.refuse(account, error) for account in accounts]
    assert Ruling.INCIDENT not in rulings[:4]
    assert rulings[4:] == [Ruling.INCIDENT] * 26
    assert harness.suspended_accounts() == []
    assert all(harness.consents.list_proofs(account)[0].open for account in accounts)
    assert all(harness.notices.list_for_account(account) == [] for account in accounts)


def test_an_incident_sets_those_back_that_were_set_aside_at_its_beginning(harness: PolicyHarness) -> None:
    accounts = [harness.add_another() for _ in range(100)]
    for account in accounts[:3]:  # The night before, when they are too few to show an incident.
        assert harness.refuse(account, MOVED) is Ruling.PENDING
    harness.at += 24 * HOUR
    rulings = [harness.refuse(account, MOVED) for account in accounts]
    assert rulings[:3] == [Ruling.SUSPENDED] * 3
    assert rulings[10:] == [Ruling.INCIDENT] * 90
    assert harness.suspended_accounts() == []
    assert all(harness.notices.list_for_account(account) == [] for account in accounts)


@pytest.mark.parametrize("error", [MOVED, REVOKED])
def test_a_few_who_moved_among_many_are_set_aside_one_by_one(harness: PolicyHarness, error: AccountError) -> None:
    accounts = [harness.add_another() for _ in range(60)]
    for night in range(2):
        for number, account in enumerate(accounts):
            harness.at += timedelta(seconds=20)
            if number % 10 == 9:  # Six of sixty.
                expected = Ruling.SUSPENDED if night else Ruling.PENDING
                assert harness.refuse(account, error) is expected
            else:
                harness.record_outcome(account)
        harness.at += 24 * HOUR
    assert harness.suspended_accounts() == sorted(accounts[9::10])


def test_those_who_wait_for_their_second_sighting_are_no_incident_though_nobody_else_is_asked(
    harness: PolicyHarness,
) -> None:
    """Test the later tries of one day, which come together long after the night of all other accounts."""
    accounts = [harness.add_another() for _ in range(100)]
    for number, account in enumerate(accounts):
        if number % 10:
            harness.record_outcome(account)
        else:
            assert harness.refuse(account) is Ruling.PENDING
    for _ in range(4):
        harness.at += CONFIRMATION_INTERVAL / 4
        rulings = {harness.refuse(account) for account in accounts[::10]}
    assert rulings == {Ruling.SUSPENDED}
    assert harness.suspended_accounts() == sorted(accounts[::10])


def test_who_is_refused_after_an_incident_as_before_it_is_set_aside_in_the_end(harness: PolicyHarness) -> None:
    accounts = [harness.add_another() for _ in range(10)]
    for account in accounts:
        harness.refuse(account, MOVED)
    (incident,) = harness.incidents.list_open()
    harness.incidents.close(incident, "probes")
    harness.at += 7 * HOUR
    for account in accounts[1:]:
        harness.record_outcome(account)
    assert harness.refuse(accounts[0], MOVED) is Ruling.PENDING  # A refusal during the incident does not count.
    harness.at += CONFIRMATION_INTERVAL
    assert harness.refuse(accounts[0], MOVED) is Ruling.SUSPENDED


def test_an_incident_that_the_operator_takes_for_the_truth_is_each_account_s_own_affair(harness: PolicyHarness) -> None:
    accounts = [harness.add_another() for _ in range(10)]
    assert Ruling.INCIDENT in {harness.refuse(account) for account in accounts}
    (incident,) = harness.incidents.list_open()
    harness.incidents.close(incident, "by_hand")
    assert {harness.refuse(account) for account in accounts} == {Ruling.PENDING}
    harness.at += CONFIRMATION_INTERVAL
    assert {harness.refuse(account) for account in accounts} == {Ruling.SUSPENDED}


def test_an_answer_that_was_really_lost_is_no_incident(harness: PolicyHarness) -> None:
    accounts = [harness.add_another() for _ in range(10)]
    assert {harness.refuse(account, RefreshAnswerLost("lost")) for account in accounts} == {Ruling.SUSPENDED}


def test_a_refusal_of_another_kind_is_believed_during_an_incident(harness: PolicyHarness) -> None:
    accounts = [harness.add_another() for _ in range(11)]
    for account in accounts[:10]:
        harness.refuse(account, MOVED)
    assert harness.refuse(accounts[10], LoginFailed("refused")) is Ruling.SUSPENDED


# Reminders of consents that end.


def test_an_ending_consent_is_told_of_30_and_7_days_before_once_each(harness: PolicyHarness) -> None:
    account = harness.add_another(date(2024, 9, 1))
    other, waiting = harness.add_another(), harness.add_another(date(2024, 9, 1))
    harness.registry.accounts.set_state(waiting, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=harness.at)
    kinds_by_day: dict[date, set[NoticeKind]] = {}
    for _ in range(45):
        for _ in range(2):  # Beat may start it twice.
            for notice in harness.refusals.insert_reminders():
                assert (notice.account_id, notice.about) == (account, "2024-09-01")
                kinds_by_day.setdefault(harness.at.date(), set()).add(notice.kind)
        harness.at += timedelta(days=1)
    assert kinds_by_day == {
        date(2024, 8, 2): {NoticeKind.CONSENT_ENDS_30},
        date(2024, 8, 25): {NoticeKind.CONSENT_ENDS_7},
    }
    assert len(harness.notices.list_for_account(account)) == 4
    assert harness.notices.list_for_account(other) == harness.notices.list_for_account(waiting) == []


def test_a_renewed_consent_is_told_of_anew_when_its_own_end_comes(harness: PolicyHarness) -> None:
    account = harness.add_another(date(2024, 8, 1))
    assert len(harness.refusals.insert_reminders()) == 2
    record_consent(harness.consents, account, ConsentKind.USAGE_POINT, harness.at, consent_until=date(2024, 12, 1))
    assert harness.refusals.insert_reminders() == []
    assert harness.notices.list_for_account(account) == []  # Notices that were not sent yet no longer apply.
    harness.at = harness.at.replace(month=11, day=28)
    assert {notice.kind for notice in harness.refusals.insert_reminders()} == {NoticeKind.CONSENT_ENDS_7}
