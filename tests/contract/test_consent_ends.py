"""The end of a consent in the registry: what is due follows its last day, and only a new consent begins again."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from tests.support.profiles import examples
from tests.support.registries import (
    METER,
    NOW,
    OTHER_METER,
    add_ready,
    close_account,
    make_due_in_all_lanes,
    record_consent,
    registry_sealer,
)
from tests.support.strategies import CLOCK_CHANGE_DAYS, days
from worker.domain.account import AccountState
from worker.domain.consents import ConsentKind, EndReason
from worker.domain.notice import NoticeKind
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, PARIS, local_midnight
from worker.errors import AccountClosed, ConsentEnded, ConsentRevoked, ConsentStopped
from worker.stores.registry import Registry
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.consents import ConsentTable, PendingRefusals
from worker.stores.registry.due import DueRow
from worker.stores.registry.notices import NoticeTable, build_notices
from worker.stores.registry.tables import ACCOUNTS, NEVER, SERIES_OUTCOMES

TODAY = NOW.astimezone(PARIS).date()
YESTERDAY = TODAY - ONE_DAY
STOPPED, ENDED = ConsentStopped.code, ConsentEnded.code


@pytest.fixture
def consents(registry: Registry) -> ConsentTable:
    return ConsentTable(registry.database, registry_sealer())


def last_days_to_ask(registry: Registry) -> set[date | None]:
    return {row.ask_until for row in registry.database.fetch(select(SERIES_OUTCOMES.c.ask_until))}


def active_series(registry: Registry, account_id: str) -> list[Series]:
    of_account = SERIES_OUTCOMES.c.account_id == account_id
    query = select(SERIES_OUTCOMES.c.series).where(of_account, SERIES_OUTCOMES.c.active)
    return [row.series for row in registry.database.fetch(query)]


def close(registry: Registry, account_id: str) -> None:
    """Close an account as a change of holder does."""
    close_account(ConsentTable(registry.database, registry_sealer()), account_id, NOW)


# What is due


def test_the_last_day_to_ask_is_that_of_the_consent_wherever_it_changes(
    registry: Registry, consents: ConsentTable
) -> None:
    account, _ = registry.accounts.add("enedis", METER, NOW, token_needed=False)
    assert last_days_to_ask(registry) == {None}
    registry.accounts.add("enedis", METER, NOW, token_needed=False, consent_until=date(2025, 1, 31))
    assert last_days_to_ask(registry) == {date(2025, 1, 31)}
    record_consent(consents, account.id, ConsentKind.CODE, NOW, consent_until=date(2026, 2, 28))
    assert last_days_to_ask(registry) == {date(2026, 2, 28)}
    record_consent(consents, account.id, ConsentKind.CODE, NOW)
    assert last_days_to_ask(registry) == {date(2026, 2, 28)} == {registry.accounts.get(account.id).consent_until}


def test_a_new_account_has_the_last_day_of_its_consent_at_once(registry: Registry) -> None:
    registry.accounts.add("enedis", METER, NOW, token_needed=False, consent_until=TODAY)
    assert last_days_to_ask(registry) == {TODAY}


def lanes(registry: Registry, now: datetime) -> dict[str, int]:
    """Return how many rows each lane has at ``now``; each has one for a series that may be asked."""
    due, today = registry.due, now.astimezone(PARIS).date()
    rows: dict[str, list[DueRow]] = {
        "nightly": due.list_nightly(Series.DAILY, 1, now, now, 10),
        "catch_up": due.list_catch_up(Series.DAILY, today - ONE_DAY, None, now, now, 10),
        "again": [row for row in due.list_again(now, 10) if row.series is Series.DAILY],
        "histories": due.list_histories(Series.DAILY, now, 10),
        "repairs": [row for row in due.list_repairs(today, 10) if row.series is Series.DAILY],
    }
    known = [DueRow(account.id, Series.DAILY, NEVER) for account in registry.accounts.list_accounts()]
    return {
        **{lane: len(found) for lane, found in rows.items()},
        "claimed meanwhile": len(due.load_unchanged(known, today)),
        "share of a night": due.count_share(Series.DAILY, 1, now, today)[0],
        "due tonight": due.count_due_tonight(Series.DAILY, 1, now, today),
        "open days": registry.completeness.count_due(today).get(Series.DAILY, 0),
    }


# Days before, on and after a change of the clocks, the end of a year, and any other.
LAST_DAYS = st.one_of(
    st.sampled_from(CLOCK_CHANGE_DAYS).flatmap(lambda day: st.sampled_from([day - ONE_DAY, day, day + ONE_DAY])),
    st.sampled_from([date(2024, 12, 31), date(2024, 2, 29)]),
    days,
)


def test_each_lane_asks_on_the_last_day_and_none_after_it(registry: Registry) -> None:
    add_ready(registry)

    @settings(max_examples=examples(25, desk=8))
    @given(LAST_DAYS, st.integers(-26 * 60, 26 * 60))
    def walk_over_midnight(last_day: date, minutes: int) -> None:
        midnight = local_midnight(last_day + ONE_DAY).astimezone(UTC)
        registry.database.change(update(SERIES_OUTCOMES).values(ask_until=last_day))
        for now in (midnight + timedelta(minutes=minutes), midnight - timedelta(seconds=1), midnight):
            make_due_in_all_lanes(registry, now - timedelta(hours=1))
            counts = lanes(registry, now)
            assert set(counts.values()) == {int(now < midnight)}, (now, counts)

    walk_over_midnight()


def test_an_account_whose_end_is_not_known_is_due_in_each_lane(registry: Registry) -> None:
    add_ready(registry)
    make_due_in_all_lanes(registry, NOW - timedelta(hours=1))
    assert set(lanes(registry, NOW).values()) == {1}


# The accounts whose consent ended without a call


def test_those_whose_consent_has_ended_come_page_by_page_until_they_wait_for_a_new_one(
    registry: Registry,
) -> None:
    def add(number: int, until: date | None) -> str:
        usage_point_id = str(30001640000100 + number)
        return registry.accounts.add("enedis", usage_point_id, NOW, token_needed=False, consent_until=until)[0].id

    ended, paused, waiting, stopped, closed, removed = (add(number, TODAY) for number in range(6))
    add(6, TODAY + ONE_DAY), add(7, None)
    registry.accounts.set_state(paused, AccountState.PAUSED, now=NOW)
    registry.accounts.set_state(waiting, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    ConsentTable(registry.database, registry_sealer()).withdraw(stopped, NOW)
    close(registry, closed)
    registry.accounts.remove(removed, NOW)
    assert registry.accounts.page_ended(TODAY) == []
    tomorrow = TODAY + ONE_DAY
    assert [account.id for account in registry.accounts.page_ended(tomorrow)] == sorted([ended, paused, waiting])
    first = registry.accounts.page_ended(tomorrow, limit=2)
    assert [account.id for account in registry.accounts.page_ended(tomorrow, first[1].id)] == [
        max(ended, paused, waiting)
    ]
    for account_id in (ended, paused, waiting):
        registry.accounts.set_state(account_id, AccountState.ACTION_NEEDED, ENDED, now=NOW + ONE_DAY)
    assert registry.accounts.page_ended(tomorrow) == []


def suspend_as_ended(registry: Registry, account_id: str, now: datetime) -> bool:
    return PendingRefusals(registry.database, registry_sealer()).suspend(
        account_id,
        ENDED,
        now,
        consent_ended=False,
        notices=lambda: build_notices(["log"], NoticeKind.ACTION_NEEDED, ENDED, now.isoformat(), now, account_id),
    )


def test_a_new_consent_that_comes_meanwhile_is_not_taken_for_the_one_that_ended(registry: Registry) -> None:
    account, _ = registry.accounts.add("enedis", METER, NOW, token_needed=False, consent_until=YESTERDAY)
    assert account.state is AccountState.NEW, "with a consent that is over nothing begins"
    registry.accounts.add("enedis", METER, NOW, token_needed=False, consent_until=TODAY)
    assert not suspend_as_ended(registry, account.id, NOW)
    assert registry.accounts.get(account.id).active
    assert suspend_as_ended(registry, account.id, NOW + ONE_DAY)
    registry.accounts.set_state(account.id, AccountState.PAUSED, now=NOW + ONE_DAY)
    assert registry.accounts.page_ended(TODAY + ONE_DAY) == []
    assert not suspend_as_ended(registry, account.id, NOW + ONE_DAY), "there is one notice, paused or not"
    notices = NoticeTable(registry.database)
    assert len(notices.list_due(NOW + ONE_DAY)) == 1


def test_an_incident_that_is_over_sets_back_nobody_whose_consent_has_ended(registry: Registry) -> None:
    code = "USER_ACTION_NEEDED.OAUTH_OUTDATED"
    valid, over = (
        registry.accounts.add("enedis", number, NOW, token_needed=False, consent_until=until)[0].id
        for number, until in ((METER, TODAY + ONE_DAY), (OTHER_METER, TODAY))
    )
    for account_id in (valid, over):
        registry.accounts.set_state(account_id, AccountState.ACTION_NEEDED, code, now=NOW)
    assert PendingRefusals(registry.database, registry_sealer()).reinstate(code, NOW, NOW + ONE_DAY, "enedis") == [
        valid
    ]


def test_an_incident_excuses_the_refusal_of_a_paused_account_which_stays_paused(
    registry: Registry, consents: ConsentTable
) -> None:
    code, pending = ConsentRevoked.code, PendingRefusals(registry.database, registry_sealer())
    refused, refused_long_ago = (add_ready(registry, number) for number in (METER, OTHER_METER))
    for account_id, at in ((refused, NOW), (refused_long_ago, NOW - ONE_DAY)):
        record_consent(consents, account_id, ConsentKind.CODE, at, consent_until=TODAY + ONE_DAY)
        registry.accounts.set_state(account_id, AccountState.PAUSED, now=at)
        assert pending.suspend(account_id, code, at, consent_ended=True, notices=list)
    registry.accounts.set_state(refused_long_ago, AccountState.READY, now=NOW)
    registry.accounts.set_state(refused_long_ago, AccountState.PAUSED, now=NOW)
    assert pending.reinstate(code, NOW, NOW, "enedis") == [refused]
    account = registry.accounts.get(refused)
    assert (account.state, account.reason, active_series(registry, refused)) == (AccountState.PAUSED, "", [])
    assert [proof.open for proof in consents.list_proofs(refused)] == [True, False]
    assert registry.accounts.get(refused_long_ago).reason == code
    registry.accounts.set_state(refused, AccountState.READY, now=NOW)
    assert registry.accounts.get(refused).active


def test_a_token_is_not_renewed_for_an_account_whose_consent_has_ended(registry: Registry) -> None:
    ends = NOW + timedelta(seconds=100)
    consent = NewConsent(token="{}", token_expires_at=ends)
    pair = registry.accounts.add_all("enedis", [METER, OTHER_METER], NOW, consent)
    over, running = sorted(account.id for account, _ in pair)

    def expiring() -> list[str]:
        tokens = registry.tokens.list_expiring(NOW, NOW + timedelta(minutes=5), TODAY)
        return [token.account_id for token in tokens]

    assert expiring() == [over], "accounts of one consent share their token"
    registry.database.change(update(ACCOUNTS).where(ACCOUNTS.c.id == over).values(consent_until=YESTERDAY))
    assert expiring() == [running]
    registry.database.change(update(ACCOUNTS).values(consent_until=YESTERDAY))
    assert expiring() == []


# Only a new consent begins again


def test_a_consent_that_is_over_can_not_be_resumed_by_hand(registry: Registry) -> None:
    account, _ = registry.accounts.add("enedis", METER, NOW, token_needed=False, consent_until=TODAY)
    registry.accounts.set_state(account.id, AccountState.PAUSED, now=NOW)
    with pytest.raises(ValueError, match="the consent ended on 2024-07-25"):
        registry.accounts.set_state(account.id, AccountState.READY, now=NOW + ONE_DAY)
    registry.accounts.set_state(account.id, AccountState.READY, now=NOW)
    assert registry.accounts.get(account.id).active


def test_a_pause_ends_on_its_day_where_nobody_has_changed_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("today", "yesterday", "waiting", "later", "without a day", "paused anew", "resumed", "stopped")
    ids = {word: add_ready(registry, str(30001640000100 + number)) for number, word in enumerate(words)}
    registry.accounts.set_state(ids["waiting"], AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    days = {"today": 2, "yesterday": 1, "later": 3}
    for word, account_id in ids.items():
        until = None if word == "without a day" else TODAY + days.get(word, 2) * ONE_DAY
        registry.accounts.set_state(account_id, AccountState.PAUSED, now=NOW, until=until)
        assert registry.accounts.get(account_id).paused_until == until
    registry.accounts.set_state(ids["paused anew"], AccountState.PAUSED, now=NOW)
    registry.accounts.set_state(ids["resumed"], AccountState.READY, now=NOW)
    ConsentTable(registry.database, registry_sealer()).withdraw(ids["stopped"], NOW)
    monkeypatch.setattr("worker.stores.registry.accounts.PAGE", 1)
    assert registry.accounts.end_pauses(NOW) == 0
    assert registry.accounts.end_pauses(NOW + 2 * ONE_DAY) == 3
    paused = dict.fromkeys(("later", "without a day", "paused anew", "stopped"), AccountState.PAUSED)
    expected = dict.fromkeys(words, AccountState.READY) | {"waiting": AccountState.ACTION_NEEDED} | paused
    accounts = {word: registry.accounts.get(account_id) for word, account_id in ids.items()}
    assert {word: account.state for word, account in accounts.items()} == expected
    assert {word for word, account in accounts.items() if account.paused_until} == {"later", "stopped"}
    assert registry.accounts.end_pauses(NOW + 2 * ONE_DAY) == 0


def test_a_pause_whose_consent_has_ended_ends_after_the_new_consent(registry: Registry) -> None:
    account, _ = registry.accounts.add("enedis", METER, NOW, token_needed=False, consent_until=TODAY)
    registry.accounts.set_state(account.id, AccountState.PAUSED, now=NOW, until=TODAY + ONE_DAY)
    tomorrow = NOW + ONE_DAY
    assert registry.accounts.end_pauses(tomorrow) == 0
    registry.accounts.add("enedis", METER, tomorrow, token_needed=False, consent_until=TODAY + timedelta(days=365))
    assert registry.accounts.get(account.id).state is AccountState.PAUSED
    assert registry.accounts.end_pauses(tomorrow) == 1
    assert registry.accounts.get(account.id).active


def test_a_household_that_stops_ends_its_proofs_and_its_token_and_is_told_nothing(
    registry: Registry, consents: ConsentTable
) -> None:
    account_id = registry.accounts.add("enedis", METER, NOW, token="{}")[0].id
    other_id = registry.accounts.add("enedis", OTHER_METER, NOW, token="{}")[0].id
    record_consent(consents, account_id, ConsentKind.CODE, NOW, consent_until=TODAY)
    notices = NoticeTable(registry.database)
    notices.insert_new(build_notices(["log"], NoticeKind.CONSENT_ENDS_7, "", "2024-07-25", NOW, account_id))
    for _ in range(2):
        consents.withdraw(account_id, NOW)
    account = registry.accounts.get(account_id)
    assert (account.state, account.reason, account.usage_point_id) == (AccountState.ACTION_NEEDED, STOPPED, METER)
    (proof,) = consents.list_proofs(account_id)
    assert (proof.ended_at, proof.end_reason, proof.names_meter) == (NOW, EndReason.WITHDRAWN.value, True)
    assert registry.tokens.load(account_id) is None and registry.tokens.load(other_id) == "{}"
    assert notices.list_due(NOW) == []
    assert active_series(registry, account_id) == []


def test_of_a_token_that_accounts_share_the_others_keep_theirs(registry: Registry, consents: ConsentTable) -> None:
    pair = registry.accounts.add_all("enedis", [METER, OTHER_METER], NOW, NewConsent(token="{}"))
    first, second = (account.id for account, _ in pair)
    consents.withdraw(first, NOW)
    assert (registry.tokens.load(first), registry.tokens.load(second)) == (None, "{}")


def stop(registry: Registry, consents: ConsentTable) -> str:
    account_id = registry.accounts.add("enedis", METER, NOW, token_needed=False, consent_until=TODAY)[0].id
    consents.withdraw(account_id, NOW)
    return account_id


@pytest.mark.parametrize(
    "later",
    [
        lambda registry, account_id: registry.accounts.set_state(account_id, AccountState.PAUSED, now=NOW),
        lambda registry, account_id: PendingRefusals(registry.database, registry_sealer()).suspend(
            account_id, "LOGIN_FAILED", NOW, consent_ended=False, notices=list
        ),
        lambda registry, account_id: suspend_as_ended(registry, account_id, NOW + 2 * ONE_DAY),
    ],
    ids=["paused", "a late refusal", "its end"],
)
def test_what_comes_after_the_households_word_does_not_undo_it(
    registry: Registry, consents: ConsentTable, later: Callable[[Registry, str], object]
) -> None:
    account_id = stop(registry, consents)
    later(registry, account_id)
    assert registry.accounts.get(account_id).reason == STOPPED
    with pytest.raises(ValueError, match="stopped the consent"):
        registry.accounts.set_state(account_id, AccountState.READY, now=NOW)
    assert isinstance(registry.accounts.get(account_id).refusal_on(TODAY), ConsentStopped)


def test_a_new_consent_lets_a_stopped_account_run_again(registry: Registry, consents: ConsentTable) -> None:
    account_id = stop(registry, consents)
    again, created = registry.accounts.add("enedis", METER, NOW, token_needed=False, consent_until=TODAY)
    assert (again.id, again.state, again.reason, created) == (account_id, AccountState.READY, "", False)
    registry.accounts.set_state(account_id, AccountState.PAUSED, now=NOW)
    consents.withdraw(account_id, NOW)
    again, _ = registry.accounts.add("enedis", METER, NOW, token_needed=False, consent_until=TODAY)
    assert (again.state, again.reason) == (AccountState.PAUSED, "")
    registry.accounts.set_state(account_id, AccountState.READY, now=NOW)


def test_h6_a_consent_that_was_stopped_stays_on_record_beside_the_new_one_of_the_same_number(
    registry: Registry, consents: ConsentTable
) -> None:
    account_id = add_ready(registry)
    record_consent(consents, account_id, ConsentKind.AUTORISATION, NOW, reference="900001")
    consents.withdraw(account_id, NOW)
    record_consent(consents, account_id, ConsentKind.AUTORISATION, NOW + ONE_DAY, reference="900001")
    newest, stopped = consents.list_proofs(account_id)
    assert newest.open and stopped.end_reason == EndReason.WITHDRAWN.value


# An account that another person's has replaced


def test_a_closed_account_changes_no_more_and_is_never_asked(registry: Registry, consents: ConsentTable) -> None:
    account_id = add_ready(registry)
    close(registry, account_id)
    for state in (AccountState.READY, AccountState.PAUSED):
        with pytest.raises(ValueError, match="another person holds this meter"):
            registry.accounts.set_state(account_id, state, now=NOW)
    with pytest.raises(ValueError, match="another person holds this meter"):
        consents.withdraw(account_id, NOW)
    pending = PendingRefusals(registry.database, registry_sealer())
    assert not pending.suspend(account_id, "LOGIN_FAILED", NOW, consent_ended=True, notices=list)
    account = registry.accounts.get(account_id)
    assert account.state is AccountState.CLOSED and not account.active
    assert isinstance(account.refusal_on(TODAY), AccountClosed)
    assert active_series(registry, account_id) == []
