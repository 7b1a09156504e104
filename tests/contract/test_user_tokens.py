"""Users' tokens: the accounts of one consent share one, and a late renewal doesn't replace a newer consent's."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import create_engine, text

from worker.domain.account import AccountState
from worker.errors import UnknownAccount
from worker.stores.registry import Registry
from worker.stores.registry.accounts import NewConsent

NOW = datetime(2024, 7, 25, 7, 0, tzinfo=UTC)
A, B = "30001640000011", "30001640000022"


def add_accounts(registry: Registry, *meters: str, token: str = "{}", ends: datetime | None = None) -> list[str]:
    consent = NewConsent(date(2024, 7, 25), date(2025, 7, 24), token, ends)
    return [account.id for account, _ in registry.accounts.add_all("enedis", meters, NOW, consent)]


def rows(url: str, table: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        count = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
    engine.dispose()
    return int(count)


def test_a_saved_token_is_read_back_and_lies_sealed(registry: Registry, url: str) -> None:
    account_id = registry.accounts.add("enedis", A, NOW, token_needed=False)[0].id
    assert registry.tokens.load(account_id) is None
    for token in ("first-refresh-token", "second-refresh-token"):
        registry.tokens.save(account_id, token)
        assert registry.tokens.load(account_id) == token
    engine = create_engine(url)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM tokens")).all()
    engine.dispose()
    assert len(rows) == 1
    assert "refresh" not in str(rows)


def test_a_consent_of_several_meters_is_all_or_nothing(registry: Registry) -> None:
    def fail(connection: object, account_ids: Sequence[str]) -> None:
        assert len(account_ids) == 2
        raise RuntimeError("the process ends here")

    with pytest.raises(RuntimeError):
        registry.accounts.add_all("enedis", [A, B], NOW, NewConsent(token="{}"), on_accounts=fail)
    assert registry.accounts.list_accounts() == []
    assert len(add_accounts(registry, A, B)) == 2


def test_meters_come_back_in_the_order_told_and_once(registry: Registry) -> None:
    accounts = registry.accounts.add_all("enedis", [B, A, B], NOW, NewConsent(token="{}"))
    assert [(account.usage_point_id, created) for account, created in accounts] == [(B, True), (A, True)]
    again = registry.accounts.add_all("enedis", [A, B], NOW, NewConsent())
    assert [(account.usage_point_id, created) for account, created in again] == [(A, False), (B, False)]


def test_what_renews_one_account_of_a_consent_renews_them_all(registry: Registry) -> None:
    first, second = add_accounts(registry, A, B, token="old")
    registry.tokens.save(first, "new")
    assert registry.tokens.load(second) == "new"
    assert registry.tokens.list_accounts_of(str(registry.tokens.find_token_id(first))) == sorted([first, second])


def test_a_new_consent_for_one_meter_leaves_the_other_its_token(registry: Registry, url: str) -> None:
    first, second = add_accounts(registry, A, B, token="old")
    assert add_accounts(registry, A, token="new") == [first]
    assert (registry.tokens.load(first), registry.tokens.load(second)) == ("new", "old")
    assert rows(url, "tokens") == 2
    add_accounts(registry, B, token="newer")
    assert rows(url, "tokens") == 2


def test_h3_a_token_waits_to_be_revoked_when_its_last_account_is_gone(registry: Registry, url: str) -> None:
    first, second = add_accounts(registry, A, B)
    token_id = str(registry.tokens.find_token_id(first))
    assert registry.accounts.remove(first, NOW)["tokens"] == 1
    assert registry.tokens.load(second) == "{}" and registry.tokens.list_to_revoke() == []
    assert registry.tokens.load_unused(token_id) is None
    registry.tokens.delete_unused(token_id)
    assert registry.accounts.remove(second, NOW)["tokens"] == 1
    assert rows(url, "token_users") == 0
    (waiting,) = registry.tokens.list_to_revoke()
    assert waiting.id == token_id and registry.tokens.load_unused(token_id) == "{}"
    registry.tokens.delete_unused(token_id)
    assert registry.tokens.list_to_revoke() == [] and rows(url, "tokens") == 0


def test_a_token_that_waits_is_not_renewed_and_an_answer_under_way_is_what_is_revoked(
    registry: Registry,
) -> None:
    (account,) = add_accounts(registry, A, token="old", ends=NOW + timedelta(seconds=100))
    token_id = str(registry.tokens.find_token_id(account))
    registry.accounts.remove(account, NOW)
    assert registry.tokens.list_expiring(NOW, NOW + timedelta(seconds=300), NOW.date()) == []
    assert registry.tokens.save_renewed(token_id, "newest")  # The renewal had begun before.
    assert registry.tokens.load_unused(token_id) == "newest"


def test_a_consent_given_anew_revokes_nothing(registry: Registry, url: str) -> None:
    add_accounts(registry, A, token="old")
    add_accounts(registry, A, token="new")
    assert registry.tokens.list_to_revoke() == [] and rows(url, "tokens") == 1


def test_two_removals_at_once_leave_one_token_to_revoke(registry: Registry, url: str) -> None:
    for number in range(1, 6):
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda account: registry.accounts.remove(account, NOW), add_accounts(registry, A, B)))
        assert len(registry.tokens.list_to_revoke()) == rows(url, "tokens") == number


def test_a_late_renewal_does_not_replace_what_a_new_consent_brought(registry: Registry) -> None:
    (account,) = add_accounts(registry, A, token="old")
    former = str(registry.tokens.find_token_id(account))
    add_accounts(registry, A, token="new")
    assert not registry.tokens.save_renewed(former, "successor of the old")
    assert registry.tokens.load(account) == "new"
    assert registry.tokens.save_renewed(str(registry.tokens.find_token_id(account)), "newer")
    assert registry.tokens.load(account) == "newer"


def test_a_renewal_under_way_is_noted_until_its_answer_is_kept(registry: Registry) -> None:
    (account,) = add_accounts(registry, A)
    token = str(registry.tokens.find_token_id(account))
    assert [registry.tokens.mark_refresh_started(token) for _ in range(2)] == [False, True]
    registry.tokens.clear_refresh_started(token)
    assert not registry.tokens.mark_refresh_started(token)
    registry.tokens.save_renewed(token, "{}")
    assert not registry.tokens.mark_refresh_started(token)
    assert not registry.tokens.mark_refresh_started("no such token")


def test_tokens_that_end_soon_are_told_once_the_next_first(registry: Registry) -> None:
    ends = {A: NOW + timedelta(seconds=200), "30001640000033": NOW + timedelta(seconds=100)}
    shared = add_accounts(registry, A, B, ends=ends[A])
    (soonest,) = add_accounts(registry, "30001640000033", ends=ends["30001640000033"])
    add_accounts(registry, "30001640000044", ends=NOW - timedelta(seconds=1))
    add_accounts(registry, "30001640000055", ends=NOW + timedelta(hours=3))
    (paused,) = add_accounts(registry, "30001640000066", ends=NOW + timedelta(seconds=50))
    registry.accounts.set_state(paused, AccountState.PAUSED, now=NOW)
    add_accounts(registry, "30001640000077")
    tokens = registry.tokens.list_expiring(NOW, NOW + timedelta(seconds=300), NOW.date())
    assert [token.account_id for token in tokens] == [soonest, min(shared)]
    assert [token.expires_at for token in tokens] == [ends["30001640000033"], ends[A]]
    assert registry.tokens.list_expiring(NOW, NOW + timedelta(seconds=300), NOW.date(), limit=1) == tokens[:1]
    registry.accounts.set_state(min(shared), AccountState.PAUSED, now=NOW)
    assert registry.tokens.list_expiring(NOW, NOW + timedelta(seconds=300), NOW.date())[1].account_id == max(shared)


def test_an_account_without_token_can_be_given_one_and_nobody_elses(registry: Registry) -> None:
    account, _ = registry.accounts.add("enedis", A, NOW)
    assert registry.tokens.find_token_id(account.id) is None
    registry.tokens.save(account.id, "first")
    assert registry.tokens.load(account.id) == "first"
    with pytest.raises(UnknownAccount):
        registry.tokens.save("nobody", "x")
