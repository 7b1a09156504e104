"""Which refusal sets an account aside, which is a doubt, which is the supplier's own trouble."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import count
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis import Redis

from tests.support.factories import NOW
from worker.accounts.refusals import APART, RefusalPolicy, Ruling, is_certain, is_settled, reminder_of
from worker.domain.consent.accounts import AccountState
from worker.domain.consent.consents import ConsentKind, Notice, NoticeKind, PendingRefusal
from worker.domain.fleet.incidents import Thresholds
from worker.domain.measures.readings import Series
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
from worker.stores.encryption import Sealer, new_key
from worker.stores.redis.connection import connect
from worker.stores.redis.incidents import IncidentStore
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.notices import NoticeTable
from worker.stores.registry.refusals import PendingRefusals
from worker.sync.incidents import Incidents

HOUR = timedelta(hours=1)
REVOKED, MOVED = ConsentRevoked("no consent"), HolderChanged("moved")


@dataclass
class Counter:
    """A desk over a registry in a file; ``at`` is the time it lives at."""

    registry: AccountRegistry
    redis: Redis
    at: datetime = NOW
    prefix: str = field(default_factory=lambda: f"test-{uuid4().hex}:")
    numbers: Iterator[int] = field(default_factory=lambda: count(30001640000000))

    def __post_init__(self) -> None:
        database, sealer = self.registry.database, Sealer([new_key()])
        self.consents, self.notices = ConsentTable(database, sealer), NoticeTable(database)
        self.doubts = PendingRefusals(database)
        channels = ("webhook", "mail")
        store = IncidentStore(self.redis, self.prefix, lambda: round(self.at.timestamp() * 1e6))
        self.incidents = Incidents(store, self.notices, channels, lambda: self.at, Thresholds(), fresh_s=0)
        self.desk = RefusalPolicy(self.consents, self.doubts, self.notices, channels, lambda: self.at, self.incidents)

    def add(self, until: date | None = None) -> str:
        number = str(next(self.numbers))
        return self.registry.add("enedis", number, self.at, consent_until=until, token_needed=False)[0].id

    def refuse(self, account: str, error: AccountError = REVOKED) -> Ruling:
        """As the journal does it: the desk first, then the outcome."""
        spared = self.incidents.spares(Series.DAILY, error)
        finding = self.desk.refused(account, error, spared=spared is not None)
        self.tried(account, error.code)
        return finding

    def tried(self, account: str, code: str | None = None) -> None:
        run = self.at.isoformat()
        self.registry.record_outcome(account, "daily", run, self.at, code=code, message="", last_day=None, stored=False)

    def state(self, account: str) -> AccountState:
        return self.registry.get(account).state

    def told(self) -> list[Notice]:
        """What is due to be told, and told with this."""
        due = [self.notices.claim(notice, self.at) for notice in self.notices.due(self.at)]
        return [notice for notice in due if notice]

    def set_aside(self) -> list[str]:
        return [account.id for account in self.registry.list([AccountState.ACTION_NEEDED])]


@pytest.fixture(scope="module")
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture(scope="module")
def shared(redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    """One for the properties, each of whose examples takes accounts of its own."""
    registry = AccountRegistry(f"sqlite:///{tmp_path_factory.mktemp('desk')}/registry.db", Sealer([new_key()]))
    registry.migrate()
    yield Counter(registry, redis)
    registry.close()


@pytest.fixture
def counter(redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Counter]:
    registry = AccountRegistry(f"sqlite:///{tmp_path_factory.mktemp('desk')}/registry.db", Sealer([new_key()]))
    registry.migrate()
    yield Counter(registry, redis)
    registry.close()


# The decisions


@pytest.mark.parametrize(
    "error, certain",
    [
        (REVOKED, False),
        (MOVED, False),
        (RefreshTokenDead("dead"), True),
        (LoginFailed("refused"), True),
        (UnknownUsagePoint("who"), True),
    ],
)
def test_two_refusals_are_doubtful_and_no_other(error: AccountError, certain: bool) -> None:
    assert is_certain(error) is certain


@pytest.mark.parametrize("times, apart, settled", [(1, 0, False), (2, 5.99, False), (2, 6, True), (9, 5, False)])
def test_a_doubt_is_settled_by_two_sightings_six_hours_apart(times: int, apart: float, settled: bool) -> None:
    assert is_settled(PendingRefusal("a", "c", NOW, NOW + apart * HOUR, times)) is settled


@pytest.mark.parametrize(
    "left, kind",
    [
        (31, None),
        (30, NoticeKind.CONSENT_ENDS_30),
        (8, NoticeKind.CONSENT_ENDS_30),
        (7, NoticeKind.CONSENT_ENDS_7),
        (0, NoticeKind.CONSENT_ENDS_7),
        (-1, None),
    ],
)
def test_the_nearest_reminder_is_the_one_that_is_told(left: int, kind: NoticeKind | None) -> None:
    assert reminder_of(date(2024, 7, 25) + timedelta(days=left), date(2024, 7, 25)) is kind


# Doubts


def test_a_consent_refused_twice_within_five_hours_does_nothing(counter: Counter) -> None:
    account = counter.add()
    for _ in range(6):
        assert counter.refuse(account) is Ruling.DOUBT
        counter.at += HOUR
    assert counter.state(account) is AccountState.READY
    assert counter.notices.of(account) == []
    assert counter.refuse(account) is Ruling.SET_ASIDE
    assert counter.state(account) is AccountState.ACTION_NEEDED


def test_an_account_set_aside_tells_its_owner_once_over_each_channel(counter: Counter) -> None:
    account = counter.add()
    counter.refuse(account, RefreshTokenDead("dead"))
    counter.at += 7 * HOUR
    for error in (RefreshTokenDead("dead"), REVOKED, LoginFailed("refused"), MOVED):  # tried by hand, time and again
        assert counter.refuse(account, error) is Ruling.SET_ASIDE
    told = counter.notices.of(account)
    assert sorted(notice.channel for notice in told) == ["mail", "webhook"]
    assert {(notice.kind, notice.reason) for notice in told} == {
        (NoticeKind.ACTION_NEEDED, "USER_ACTION_NEEDED.OAUTH_OUTDATED")
    }


def test_an_account_set_aside_again_is_told_again_and_needs_two_sightings_again(counter: Counter) -> None:
    account = counter.add()
    for _ in range(2):
        assert counter.refuse(account) is Ruling.DOUBT
        counter.at += APART
        assert counter.refuse(account) is Ruling.SET_ASIDE
        counter.registry.set_state(account, AccountState.READY, now=counter.at)
    assert len(counter.notices.of(account)) == 4


def test_a_paused_account_stays_paused_and_its_owner_is_told_once(counter: Counter) -> None:
    account = counter.add()
    counter.registry.set_state(account, AccountState.PAUSED, now=counter.at)
    for _ in range(3):
        counter.refuse(account, RefreshTokenDead("dead"))
    assert counter.state(account) is AccountState.PAUSED
    assert len(counter.notices.of(account)) == 2


def test_the_two_doubts_of_an_account_do_not_add_up(counter: Counter) -> None:
    account = counter.add()
    counter.refuse(account, REVOKED)
    counter.at += APART
    assert counter.refuse(account, MOVED) is Ruling.DOUBT
    assert counter.refuse(account, REVOKED) is Ruling.SET_ASIDE


def test_a_clock_set_back_settles_nothing(counter: Counter) -> None:
    account = counter.add()
    counter.refuse(account)
    counter.at -= 12 * HOUR
    assert counter.refuse(account) is Ruling.DOUBT
    counter.at += 12 * HOUR + APART
    assert counter.refuse(account) is Ruling.SET_ASIDE


def test_a_refused_consent_ends_in_the_book_and_a_lost_holder_s_does_not(counter: Counter) -> None:
    revoked, moved = counter.add(), counter.add()
    for account, error in ((revoked, REVOKED), (moved, MOVED)):
        counter.consents.record(account, ConsentKind.USAGE_POINT, counter.at)
        counter.refuse(account, error)
    counter.at += APART
    counter.refuse(revoked, REVOKED)
    counter.refuse(moved, MOVED)
    assert [proof.end_reason for proof in counter.consents.of(revoked)] == ["USER_ACTION_NEEDED.OAUTH_OUTDATED"]
    assert counter.consents.of(moved)[0].open


def test_a_removed_account_is_refused(counter: Counter) -> None:
    account = counter.add()
    counter.registry.remove(account)
    for error in (REVOKED, LoginFailed("refused")):
        with pytest.raises(UnknownAccount):
            counter.desk.refused(account, error)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["refused", "fine"]), st.integers(0, 8)), max_size=10))
def test_an_account_is_set_aside_when_refused_twice_six_hours_apart_without_a_success_between(
    shared: Counter, events: list[tuple[str, int]]
) -> None:
    account, first, expected = shared.add(), None, False
    for what, hours in events:
        shared.at += hours * HOUR
        if what == "fine":
            shared.desk.succeeded(account)
            first = None
        else:
            shared.refuse(account)
            first = first or shared.at
            expected = expected or shared.at - first >= APART
        assert (shared.state(account) is AccountState.ACTION_NEEDED) is expected
        if expected:
            break


# Storms


@pytest.mark.parametrize("seed", range(3))
def test_a_storm_over_a_hundred_accounts_sets_nobody_aside_however_long_and_in_whatever_order(
    counter: Counter, seed: int, caplog: pytest.LogCaptureFixture
) -> None:
    accounts, chance = [counter.add() for _ in range(100)], random.Random(seed)
    with caplog.at_level(logging.ERROR, "releve.incidents"):
        for pause in (6, 18, 24):
            chance.shuffle(accounts)
            for account in accounts[: 100 if seed < 2 else 30]:
                counter.refuse(account, MOVED)
                counter.at += timedelta(seconds=20)
            assert counter.set_aside() == []
            counter.at += pause * HOUR
    assert [account.id for account in counter.registry.list([AccountState.READY])] == sorted(accounts)
    assert all(counter.notices.of(account) == [] for account in accounts)
    told = counter.told()
    assert [(notice.kind, notice.reason, notice.account_id) for notice in told] == [
        (NoticeKind.INCIDENT, "holder", None)
    ] * 2  # once over each channel
    assert caplog.messages == ["incident open"]


@pytest.mark.parametrize("error", [MOVED, REVOKED, RefreshTokenDead("dead"), LoginFailed("no"), UnknownUsagePoint("?")])
def test_whatever_the_refusal_those_set_aside_before_it_was_known_are_set_back_with_their_consent(
    counter: Counter, error: AccountError
) -> None:
    accounts = [counter.add() for _ in range(30)]
    for account in accounts:
        counter.consents.record(account, ConsentKind.USAGE_POINT, counter.at)
    found = [counter.refuse(account, error) for account in accounts]
    assert Ruling.STORM not in found[:4]
    assert found[4:] == [Ruling.STORM] * 26
    assert counter.set_aside() == []
    assert all(counter.consents.of(account)[0].open for account in accounts)
    assert all(counter.notices.of(account) == [] for account in accounts)


def test_a_storm_sets_those_back_that_were_set_aside_at_its_beginning(counter: Counter) -> None:
    accounts = [counter.add() for _ in range(100)]
    for account in accounts[:3]:  # the night before, too few to tell
        assert counter.refuse(account, MOVED) is Ruling.DOUBT
    counter.at += 24 * HOUR
    found = [counter.refuse(account, MOVED) for account in accounts]
    assert found[:3] == [Ruling.SET_ASIDE] * 3
    assert found[10:] == [Ruling.STORM] * 90
    assert counter.set_aside() == []
    assert all(counter.notices.of(account) == [] for account in accounts)


@pytest.mark.parametrize("error", [MOVED, REVOKED])
def test_a_few_who_moved_among_many_are_set_aside_one_by_one(counter: Counter, error: AccountError) -> None:
    accounts = [counter.add() for _ in range(60)]
    for night in range(2):
        for number, account in enumerate(accounts):
            counter.at += timedelta(seconds=20)
            if number % 10 == 9:  # six of sixty
                expected = Ruling.SET_ASIDE if night else Ruling.DOUBT
                assert counter.refuse(account, error) is expected
            else:
                counter.desk.succeeded(account)
                counter.tried(account)
        counter.at += 24 * HOUR
    assert counter.set_aside() == sorted(accounts[9::10])


def test_those_who_wait_for_their_second_sighting_are_no_storm_though_nobody_else_is_asked(counter: Counter) -> None:
    """A day's further tries of the refused come together, when the night of all others is long over."""
    accounts = [counter.add() for _ in range(100)]
    for number, account in enumerate(accounts):
        if number % 10:
            counter.tried(account)
        else:
            assert counter.refuse(account) is Ruling.DOUBT
    for _ in range(4):
        counter.at += APART / 4
        found = {counter.refuse(account) for account in accounts[::10]}
    assert found == {Ruling.SET_ASIDE}
    assert counter.set_aside() == sorted(accounts[::10])


def test_who_is_refused_after_a_storm_as_before_it_is_set_aside_in_the_end(counter: Counter) -> None:
    accounts = [counter.add() for _ in range(10)]
    for account in accounts:
        counter.refuse(account, MOVED)
    (storm,) = counter.incidents.current()
    counter.incidents.close(storm, "probes")
    counter.at += 7 * HOUR
    for account in accounts[1:]:
        counter.desk.succeeded(account)
        counter.tried(account)
    assert counter.refuse(accounts[0], MOVED) is Ruling.DOUBT  # what was said in the storm doesn't count
    counter.at += APART
    assert counter.refuse(accounts[0], MOVED) is Ruling.SET_ASIDE


def test_a_storm_that_the_operator_takes_for_the_truth_is_each_account_s_own_affair(counter: Counter) -> None:
    accounts = [counter.add() for _ in range(10)]
    assert Ruling.STORM in {counter.refuse(account) for account in accounts}
    (storm,) = counter.incidents.current()
    counter.incidents.close(storm, "by_hand")
    assert {counter.refuse(account) for account in accounts} == {Ruling.DOUBT}
    counter.at += APART
    assert {counter.refuse(account) for account in accounts} == {Ruling.SET_ASIDE}


def test_an_answer_that_was_really_lost_is_no_storm(counter: Counter) -> None:
    accounts = [counter.add() for _ in range(10)]
    assert {counter.refuse(account, RefreshAnswerLost("lost")) for account in accounts} == {Ruling.SET_ASIDE}


def test_a_refusal_of_another_kind_is_believed_during_a_storm(counter: Counter) -> None:
    accounts = [counter.add() for _ in range(11)]
    for account in accounts[:10]:
        counter.refuse(account, MOVED)
    assert counter.refuse(accounts[10], LoginFailed("refused")) is Ruling.SET_ASIDE


# Reminders


def test_an_ending_consent_is_told_of_30_and_7_days_before_once_each(counter: Counter) -> None:
    account = counter.add(until=date(2024, 9, 1))
    other, waiting = counter.add(), counter.add(until=date(2024, 9, 1))
    counter.registry.set_state(waiting, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=counter.at)
    told: dict[date, set[NoticeKind]] = {}
    for _ in range(45):
        for _ in range(2):  # beat may come twice
            for notice in counter.desk.remind():
                assert (notice.account_id, notice.about) == (account, "2024-09-01")
                told.setdefault(counter.at.date(), set()).add(notice.kind)
        counter.at += timedelta(days=1)
    assert told == {date(2024, 8, 2): {NoticeKind.CONSENT_ENDS_30}, date(2024, 8, 25): {NoticeKind.CONSENT_ENDS_7}}
    assert len(counter.notices.of(account)) == 4
    assert counter.notices.of(other) == counter.notices.of(waiting) == []


def test_a_renewed_consent_is_told_of_anew_when_its_own_end_comes(counter: Counter) -> None:
    account = counter.add(until=date(2024, 8, 1))
    assert len(counter.desk.remind()) == 2
    counter.consents.record(account, ConsentKind.USAGE_POINT, counter.at, consent_until=date(2024, 12, 1))
    assert counter.desk.remind() == []
    assert counter.notices.of(account) == []  # what wasn't told yet is no longer true
    counter.at = counter.at.replace(month=11, day=28)
    assert {notice.kind for notice in counter.desk.remind()} == {NoticeKind.CONSENT_ENDS_7}
