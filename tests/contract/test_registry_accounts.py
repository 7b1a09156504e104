"""Accounts in the registry, from the first consent to the removal, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

import traceback
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date
from pathlib import Path

import pytest

from tests.support.registries import (
    LATER,
    METER,
    NOW,
    OTHER_METER,
    add_ready,
    open_registry,
    record_outcome,
    switch_on,
)
from worker.domain.account import AccountState
from worker.domain.series import USUAL_SERIES, Series, SeriesSwitch
from worker.errors import FilesOnly, SeriesNotOffered, UnknownAccount
from worker.stores.registry import Registry
from worker.stores.registry.fleet_counts import CodeCount, Overview
from worker.stores.registry.migrations import upgrade_schema


def test_an_added_account_is_read_back_whole(registry: Registry) -> None:
    dates = {"consent_from": date(2024, 7, 1), "consent_until": date(2027, 7, 1)}
    account, created = registry.accounts.add("enedis", METER, NOW, token="{}", **dates)
    assert created
    assert account == registry.accounts.get(account.id)
    assert registry.accounts.list_accounts() == [account]
    assert (account.state, account.reason, account.supplier) == (AccountState.READY, "", "enedis")
    assert (account.usage_point_id, account.consent_from, account.consent_until) == (METER, *dates.values())
    assert account.created_at == NOW
    assert account.created_at.tzinfo is UTC
    assert account.id.isalnum()
    assert METER not in account.id
    assert METER not in repr(account)


@pytest.mark.parametrize(
    "usage_point_id, token, token_needed, state",
    [
        (METER, "{}", True, AccountState.READY),
        (METER, None, False, AccountState.READY),
        (METER, None, True, AccountState.NEW),
        (None, "{}", True, AccountState.NEW),
        (None, None, False, AccountState.NEW),
    ],
)
def test_an_account_is_ready_once_it_has_a_usage_point_and_a_token_source(
    registry: Registry, usage_point_id: str | None, token: str | None, token_needed: bool, state: AccountState
) -> None:
    account, _ = registry.accounts.add("enedis", usage_point_id, NOW, token=token, token_needed=token_needed)
    assert account.state is state


def test_an_account_without_a_token_is_not_asked_for_by_any_definition(registry: Registry) -> None:
    account, _ = registry.accounts.add("enedis", METER, NOW)
    registry.accounts.add("enedis", OTHER_METER, NOW, token_needed=False)
    (due,) = {row.account_id for row in registry.due.list_histories(Series.DAILY, NOW, 10)}
    for _ in range(2):
        assert not registry.accounts.get(account.id).active and not registry.accounts.get(account.id).unconfirmed
        assert due != account.id and account.id not in [one.id for one in registry.accounts.page_active()]
        assert Overview(registry.database).count_active_accounts("enedis", NOW.date()) == 1
        registry.accounts.set_state(account.id, AccountState.READY, now=NOW)
        (due,) = {row.account_id for row in registry.due.list_histories(Series.DAILY, NOW, 10)}
    registry.outcomes.switch(account.id, Series.MAX_POWER, SeriesSwitch.ON, NOW)
    assert registry.due.list_histories(Series.MAX_POWER, NOW, 10) == []
    assert registry.accounts.add("enedis", METER, NOW, token="{}")[0].active


def test_a_usage_point_added_again_gives_its_account_with_the_new_token_and_consent(registry: Registry) -> None:
    first, _ = registry.accounts.add("enedis", METER, NOW, token="old", consent_until=date(2024, 12, 31))
    registry.accounts.set_state(first.id, AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.OAUTH_OUTDATED", now=NOW)
    again, created = registry.accounts.add("enedis", METER, LATER, token="new", consent_until=date(2027, 7, 1))
    assert not created
    assert (again.id, again.state, again.reason) == (first.id, AccountState.READY, "")
    assert (again.created_at, again.consent_until) == (first.created_at, date(2027, 7, 1))
    assert registry.tokens.load(first.id) == "new"
    assert len(registry.accounts.list_accounts()) == 1


def test_a_usage_point_added_again_with_nothing_new_changes_nothing(registry: Registry) -> None:
    first, _ = registry.accounts.add("enedis", METER, NOW, token="old", consent_until=date(2024, 12, 31))
    registry.accounts.set_state(first.id, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    waiting = registry.accounts.get(first.id)
    assert registry.accounts.add("enedis", METER, LATER) == (waiting, False)
    assert registry.tokens.load(first.id) == "old"


def test_a_new_consent_leaves_a_paused_account_paused(registry: Registry) -> None:
    account_id = add_ready(registry)
    registry.accounts.set_state(account_id, AccountState.PAUSED, now=NOW)
    registry.accounts.set_state(account_id, AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    paused = registry.accounts.get(account_id)
    assert (paused.state, paused.reason) == (AccountState.PAUSED, "LOGIN_FAILED")
    again, _ = registry.accounts.add("enedis", METER, LATER, token="new")
    assert again.state is AccountState.PAUSED
    registry.accounts.set_state(account_id, AccountState.READY, now=LATER)
    assert registry.accounts.get(account_id).active
    assert registry.accounts.get(account_id).reason == ""


@pytest.mark.parametrize("code", ["LOGIN_FAILED", "USER_ACTION_NEEDED.TOKEN_NEEDED", FilesOnly.code])
def test_a_pause_keeps_what_the_account_waits_for_and_resuming_gives_it_back(registry: Registry, code: str) -> None:
    account_id = add_ready(registry)
    registry.accounts.set_state(account_id, AccountState.ACTION_NEEDED, code, now=NOW)
    for state in (AccountState.PAUSED, AccountState.PAUSED, AccountState.ACTION_NEEDED):
        registry.accounts.set_state(
            account_id, AccountState.READY if state is AccountState.ACTION_NEEDED else state, now=LATER
        )
        account = registry.accounts.get(account_id)
        assert (account.state, account.reason, account.active) == (state, code, False)
    assert registry.accounts.state_since(account_id) == NOW, "it has waited since then"
    registry.accounts.set_state(account_id, AccountState.READY, now=LATER)
    assert (registry.accounts.get(account_id).active, registry.accounts.get(account_id).reason) == (True, "")
    for state in (AccountState.PAUSED, AccountState.READY):
        registry.accounts.set_state(account_id, state, now=LATER)
        assert (registry.accounts.get(account_id).state, registry.accounts.get(account_id).reason) == (state, "")


def test_the_same_number_at_two_suppliers_is_two_accounts(registry: Registry) -> None:
    electricity, gas = add_ready(registry), registry.accounts.add("grdf", METER, NOW)[0].id
    assert electricity != gas
    assert (registry.accounts.get(electricity).supplier, registry.accounts.get(gas).supplier) == ("enedis", "grdf")


def test_one_usage_point_added_from_many_threads_is_one_account(registry: Registry) -> None:
    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda n: registry.accounts.add("enedis", METER, NOW, token=f"{n}"), range(24)))
    assert len({account.id for account, _ in added}) == 1
    assert sum(created for _, created in added) == 1
    assert len(registry.accounts.list_accounts()) == 1


def test_active_accounts_come_in_pages_that_miss_and_double_none(registry: Registry) -> None:
    ids = sorted(add_ready(registry, f"{30001640000000 + n}") for n in range(11))
    registry.accounts.set_state(ids[3], AccountState.PAUSED, now=NOW)
    ids_read, after = [], None
    while page := registry.accounts.page_active(after, limit=4):
        ids_read += [account.id for account in page]
        after = page[-1].id
    assert ids_read == [*ids[:3], *ids[4:]]


def test_accounts_are_listed_and_counted_by_state(registry: Registry) -> None:
    ready, paused, removed = (add_ready(registry, f"{30001640000000 + n}") for n in range(3))
    registry.accounts.set_state(paused, AccountState.PAUSED, now=NOW)
    registry.accounts.remove(removed, NOW)
    assert [account.id for account in registry.accounts.list_accounts()] == sorted([ready, paused])
    assert [account.id for account in registry.accounts.list_accounts([AccountState.PAUSED])] == [paused]
    assert [account.id for account in registry.accounts.list_accounts([AccountState.DELETED])] == [removed]
    assert registry.accounts.list_accounts([]) == []
    expected = dict.fromkeys(AccountState, 0)
    expected |= dict.fromkeys([AccountState.READY, AccountState.PAUSED, AccountState.DELETED], 1)
    assert Overview(registry.database).count_accounts_by_state() == expected


def test_a_series_that_has_ended_is_not_among_the_last_errors(registry: Registry) -> None:
    account = add_ready(registry)
    switch_on(registry, account, Series.DAILY, Series.MAX_POWER)
    for series in (Series.DAILY, Series.MAX_POWER):
        record_outcome(registry, account, "1", series=series, code=SeriesNotOffered.code)
    codes = [CodeCount(series, SeriesNotOffered.code, 1, NOW) for series in (Series.DAILY, Series.MAX_POWER)]
    assert Overview(registry.database).list_last_errors() == codes
    assert registry.outcomes.end(account, Series.MAX_POWER, "2", "not offered", NOW)
    assert Overview(registry.database).list_last_errors() == codes[:1]


@pytest.mark.parametrize("state", [AccountState.NEW, AccountState.CLOSED, AccountState.DELETED])
def test_some_states_can_not_be_set_by_hand(registry: Registry, state: AccountState) -> None:
    account_id = add_ready(registry)
    with pytest.raises(ValueError, match="can't be set"):
        registry.accounts.set_state(account_id, state, now=NOW)
    assert registry.accounts.get(account_id).state is AccountState.READY


@pytest.mark.parametrize("code", ["SOMETHING_NEW", "VENDOR_DOWN", ""])
def test_no_account_waits_under_a_code_without_an_owners_advice(registry: Registry, code: str) -> None:
    account_id = add_ready(registry)
    with pytest.raises(ValueError, match="code"):
        registry.accounts.set_state(account_id, AccountState.ACTION_NEEDED, code, now=NOW)
    assert registry.accounts.get(account_id).state is AccountState.READY


def test_an_account_without_a_usage_point_does_not_become_ready(registry: Registry) -> None:
    account, _ = registry.accounts.add("enedis", None, NOW)
    with pytest.raises(ValueError, match="usage point"):
        registry.accounts.set_state(account.id, AccountState.READY, now=NOW)


# Removal


def test_a_removed_account_leaves_a_tombstone_that_refuses_late_tasks(registry: Registry) -> None:
    account, _ = registry.accounts.add("enedis", METER, NOW, token="{}", consent_until=date(2027, 7, 1))
    for series in USUAL_SERIES:
        record_outcome(registry, account.id, "run-1", series=series)
    assert registry.accounts.remove(account.id, NOW) == {
        "usage_points": 1,
        "tokens": 1,
        "outcomes": 2,
        "raw_answers": 0,
        "account_details": 0,
    }
    assert registry.accounts.remove(account.id, LATER) == dict.fromkeys(
        ("usage_points", "tokens", "outcomes", "raw_answers", "account_details"), 0
    )
    tombstone = registry.accounts.get(account.id)
    assert registry.accounts.state_since(account.id) == NOW, "by the clock of the fleet, and of the first removal"
    assert (tombstone.state, tombstone.usage_point_id, tombstone.consent_until) == (AccountState.DELETED, None, None)
    assert registry.tokens.load(account.id) is None
    assert registry.outcomes.load(account.id) == {}
    for late in (
        lambda: registry.accounts.set_state(account.id, AccountState.READY, now=NOW),
        lambda: registry.tokens.save(account.id, "{}"),
        lambda: record_outcome(registry, account.id, "run-2"),
    ):
        with pytest.raises(UnknownAccount, match="was removed"):
            late()


def test_a_usage_point_can_come_back_as_a_new_account_after_removal(registry: Registry) -> None:
    first = add_ready(registry)
    registry.accounts.remove(first, NOW)
    assert add_ready(registry) != first


def test_adding_while_removing_ends_in_one_of_the_two_orders(registry: Registry) -> None:
    for _ in range(10):
        first = registry.accounts.add("enedis", METER, NOW, token="{}")[0].id
        with ThreadPoolExecutor(2) as threads:
            removal = threads.submit(registry.accounts.remove, first, NOW)
            added, created = threads.submit(registry.accounts.add, "enedis", METER, NOW, token="{}").result()
            assert removal.result()["usage_points"] == 1
        assert created == (added.id != first)
        assert [account.id for account in registry.accounts.list_accounts() if account.usage_point_id] == [
            added.id
        ] * created


def test_the_file_keeps_nothing_of_a_removed_account(tmp_path: Path) -> None:
    registry = open_registry(f"sqlite:///{tmp_path}/registry.db")
    assert registry.schema_version() is None
    upgrade_schema(registry.database)
    account_id = add_ready(registry)
    registry.database.close()
    file = tmp_path / "registry.db"
    assert METER.encode() in file.read_bytes()
    registry.accounts.remove(account_id, NOW)
    registry.database.close()
    assert METER.encode() not in file.read_bytes()
    assert file.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("unknown", ["nobody", METER, ""])
def test_an_unknown_account_is_refused_without_repeating_what_may_be_a_meter_number(
    registry: Registry, unknown: str
) -> None:
    for call in (
        lambda: registry.accounts.get(unknown),
        lambda: registry.accounts.remove(unknown, NOW),
        lambda: registry.tokens.save(unknown, "{}"),
        lambda: registry.accounts.set_state(unknown, AccountState.PAUSED, now=NOW),
        lambda: record_outcome(registry, unknown, "run-1"),
    ):
        with pytest.raises(UnknownAccount, match="releve accounts list") as caught:
            call()
        assert METER not in "".join(traceback.format_exception(caught.value)).rsplit("UnknownAccount", 1)[1]
    with pytest.raises(UnknownAccount):  # PostgreSQL refuses a text with NUL, which an address may have.
        registry.accounts.get("a\x00")
    assert registry.tokens.load(unknown) is None
    assert registry.outcomes.load(unknown) == {}
