"""Accounts found by the operator's own reference, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from tests.support.registries import (
    LATER,
    METER,
    NOW,
    OTHER_METER,
    FixedKeys,
    add_ready,
    close_account,
    record_consent,
    registry_sealer,
)
from worker.accounts.asserted_accounts import AccountAssertion
from worker.domain.consents import ConsentKind
from worker.stores.encryption import KeyedHashes, generate_key
from worker.stores.registry import Registry
from worker.stores.registry.tables import ACCOUNTS

REFERENCE = "Contrat  Été 4711"


def add(registry: Registry, meter: str = METER, reference: str | None = REFERENCE, tenant: str = "default") -> str:
    assertion = AccountAssertion(supplier="enedis", registry=registry, now=lambda: NOW)
    return assertion.add(meter, "cli:ada", reference=reference, tenant=tenant)[0].id


def found(registry: Registry, reference: str = REFERENCE, tenant: str | None = None) -> list[str]:
    return [account.id for account in registry.accounts.find_by_reference(reference, tenant=tenant)]


def stored(registry: Registry) -> dict[str, str | None]:
    return dict(registry.database.fetch(select(ACCOUNTS.c.id, ACCOUNTS.c.reference)))


def forget(registry: Registry) -> None:
    """Leave the column as the former version does, which doesn't know it."""
    registry.database.change(update(ACCOUNTS).values(reference=None))


@pytest.mark.parametrize("typed", [REFERENCE, " contrat e\u0301te\u0301 4711\n", "CONTRAT ÉTÉ 4711"])
def test_an_account_is_found_by_its_reference_however_it_is_typed(registry: Registry, typed: str) -> None:
    account = add(registry)
    assert found(registry, typed) == [account]
    assert registry.consents.load_references([account]) == {account: REFERENCE}
    assert "4711" not in str(stored(registry))


@pytest.mark.parametrize("typed", ["", "  ", "contrat", "contratété4711"])
def test_another_text_finds_nothing_and_least_of_all_the_accounts_without_one(registry: Registry, typed: str) -> None:
    add(registry), add(registry, OTHER_METER, None), add(registry, "30001640000033", "  ")
    assert found(registry, typed) == []


def test_two_accounts_may_have_one_reference_and_a_tenant_finds_only_its_own(registry: Registry) -> None:
    one, other = add(registry), add(registry, OTHER_METER, tenant="solar")
    assert found(registry) == sorted([one, other])
    assert found(registry, tenant="solar") == [other]


def test_a_reference_is_found_after_the_holder_consents_and_after_a_new_key(registry: Registry) -> None:
    account = add(registry)
    record_consent(registry.consents, account, ConsentKind.USAGE_POINT, LATER)
    old = registry.keys.hashes
    newer = KeyedHashes([generate_key(), *(key.decode() for key in old._keys)])
    assert found(Registry(registry.database, FixedKeys(registry.sealer, newer))) == [account]


def test_the_references_of_an_older_version_are_made_searchable_in_batches(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_one = [add(registry, str(30001640000100 + number)) for number in range(3)]
    without = [add_ready(registry), add(registry, OTHER_METER, None)]
    before = stored(registry)
    forget(registry)
    assert found(registry) == [] and registry.consents.count_unsearchable() == 5
    monkeypatch.setattr("worker.stores.registry.consents._BATCH", 2)
    assert registry.consents.index_references(registry.hashes, most=2) == 2
    assert registry.consents.count_unsearchable() == 3
    assert registry.consents.index_references(registry.hashes) == 3
    assert stored(registry) == before and found(registry) == sorted(with_one)
    assert {before[account] for account in without} == {""}
    assert registry.consents.index_references(registry.hashes) == 0


def test_a_reference_that_no_key_opens_waits_until_its_key_is_back(registry: Registry) -> None:
    account, other = add(registry), add_ready(registry, OTHER_METER)
    forget(registry)
    wrong = Registry(registry.database, FixedKeys(registry_sealer(generate_key())))
    assert wrong.consents.index_references(registry.hashes) == 1
    assert stored(registry) == {account: None, other: ""}
    assert registry.consents.index_references(registry.hashes) == 1
    assert found(registry) == [account]


def test_an_erasure_leaves_nothing_of_the_reference(registry: Registry) -> None:
    account = add(registry)
    registry.accounts.remove(account, NOW)
    assert found(registry) == [] and stored(registry) == {account: ""}


def test_what_the_former_version_erases_is_forgotten_at_night(registry: Registry) -> None:
    erased, closed = add(registry), add(registry, OTHER_METER)
    before = stored(registry)
    registry.accounts.remove(erased, NOW)
    registry.consents.erase_after_removal(erased, NOW, 365)
    registry.database.change(update(ACCOUNTS).where(ACCOUNTS.c.id == erased).values(reference=before[erased]))
    close_account(registry.consents, closed, NOW)
    registry.consents.expire_and_erase(NOW, NOW.date(), 365)
    assert stored(registry) == {erased: "", closed: before[closed]}
    assert found(registry) == [closed]  # Its evidence names it, too, as long as that is kept.
