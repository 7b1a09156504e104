"""Tenants: what belongs to one is nobody's for another, and a meter has one account that is read, in one of them."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from tests.support.profiles import examples
from tests.support.registries import (
    KEY,
    METER,
    NOW,
    OTHER_METER,
    add_ready,
    all_rows,
    close_account,
    opened_registry,
    prepare_registry,
    registry_sealer,
)
from worker.accounts.asserted_accounts import AccountAssertion
from worker.accounts.invitations import Inviter, MeterHasAccount, MeterHasNoAccount
from worker.accounts.notice_channels import NoticeChannels, NoticeLog, NotifyService, Webhook
from worker.domain.account import DEFAULT_TENANT, AccountState, check_tenant
from worker.domain.invitation import InvitationPurpose
from worker.errors import MeterElsewhere, UnknownTenant
from worker.stores.encryption import generate_key
from worker.stores.registry import Registry
from worker.stores.registry.api_tokens import ApiTokenTable, Tenant, TenantTable, WebhookTarget, require_tenant
from worker.stores.registry.invitations import UnknownInvitation
from worker.stores.registry.key_rotation import WEBHOOK_SEALS, rotate_seals
from worker.stores.registry.tables import TENANTS

OURS, THEIRS = DEFAULT_TENANT, "kilowatt"
HOOK = WebhookTarget("https://kilowatt.example/hook", "between them and us")


@pytest.fixture
def table(registry: Registry) -> TenantTable:
    return TenantTable(registry.database, registry_sealer(), lambda: NOW)


@pytest.fixture
def assertion(registry: Registry) -> AccountAssertion:
    return AccountAssertion(supplier="enedis", registry=registry, now=lambda: NOW)


@pytest.fixture
def inviter(registry: Registry) -> Inviter:
    return Inviter(registry=registry, public_url="https://releve.example")


# Tenants themselves


def test_the_default_tenant_is_there_without_a_row_and_may_get_a_title(registry: Registry, table: TenantTable) -> None:
    assert table.list_tenants() == [Tenant(DEFAULT_TENANT)]
    assert table.title_of(DEFAULT_TENANT) is None
    assert require_tenant(registry.database, DEFAULT_TENANT) == DEFAULT_TENANT
    table.save(THEIRS, "Kilowatt Club")
    table.save(DEFAULT_TENANT, "Our service")
    assert [(tenant.id, tenant.title) for tenant in table.list_tenants()] == [
        (DEFAULT_TENANT, "Our service"),
        (THEIRS, "Kilowatt Club"),
    ]
    table.save(THEIRS, None)
    table.save(THEIRS, "Kilowatt")
    assert table.title_of(THEIRS) == "Kilowatt"


def test_an_unknown_tenant_is_refused_in_a_line_that_says_how_to_make_it(
    registry: Registry, table: TenantTable
) -> None:
    for call in (
        lambda: require_tenant(registry.database, THEIRS),
        lambda: table.save_webhook(THEIRS, HOOK),
    ):
        with pytest.raises(UnknownTenant, match=f"`releve tenants {THEIRS} --title"):
            call()
    with pytest.raises(UnknownTenant, match="--title"):
        table.save(THEIRS, None)
    assert table.title_of(THEIRS) is None


@pytest.mark.parametrize("name", ["", "Kilowatt", "1st", "two words", "é", "a" * 33, "a/b", "default\n"])
def test_a_name_is_short_and_plain(name: str) -> None:
    with pytest.raises(ValueError, match="1 to 32"):
        check_tenant(name)


def test_a_webhook_is_sealed_and_sealed_anew_with_the_others(registry: Registry, table: TenantTable) -> None:
    table.save(THEIRS, "Kilowatt Club")
    assert (table.has_webhook(THEIRS), table.find_webhook(THEIRS), table.find_webhook("nobody")) == (False, None, None)
    table.save_webhook(THEIRS, HOOK)
    assert table.has_webhook(THEIRS) and table.find_webhook(THEIRS) == HOOK
    stored = json.dumps(all_rows(registry.database))
    assert HOOK.url not in stored and HOOK.secret not in stored
    assert HOOK.url not in repr(HOOK) and HOOK.secret not in repr(HOOK)
    newest = generate_key()
    assert rotate_seals(registry.database, registry_sealer(newest, KEY), WEBHOOK_SEALS) == 1
    assert TenantTable(registry.database, registry_sealer(newest)).find_webhook(THEIRS) == HOOK
    table.save_webhook(THEIRS, None)
    assert not table.has_webhook(THEIRS)
    assert registry.database.fetch(select(TENANTS.c.sealed_webhook))[0].sealed_webhook is None


# What belongs to a tenant


def test_accounts_tokens_and_invitations_belong_to_the_default_tenant_unless_it_is_said_otherwise(
    registry: Registry, inviter: Inviter
) -> None:
    account = registry.accounts.get(add_ready(registry))
    tokens = ApiTokenTable(registry.database)
    token, text = tokens.create("t", ["read:accounts"])
    invitation, _ = inviter.invite_account(account.id, "cli:ada")
    assert {account.tenant, token.tenant, invitation.tenant} == {DEFAULT_TENANT}
    theirs, _ = registry.accounts.add("enedis", OTHER_METER, NOW, tenant=THEIRS)
    their_token, their_text = tokens.create("t", ["read:accounts"], tenant=THEIRS)
    assert theirs.tenant == registry.accounts.get(theirs.id).tenant == THEIRS
    found, their_found = tokens.find(text), tokens.find(their_text)
    assert found and their_found and (found.tenant, their_found.tenant) == (DEFAULT_TENANT, THEIRS)
    assert {row.tenant for row in tokens.list_tokens()} == {DEFAULT_TENANT, THEIRS}
    assert their_token.tenant == THEIRS


@settings(max_examples=examples(15, desk=5))
@given(tenants=st.lists(st.sampled_from((OURS, THEIRS, "third")), max_size=12), limit=st.integers(1, 5))
def test_pages_and_lists_of_a_tenant_have_its_own_rows_and_no_others(
    tmp_path_factory: pytest.TempPathFactory, tenants: list[str], limit: int
) -> None:
    folder = tmp_path_factory.mktemp("pages")
    prepare_registry(folder)
    with opened_registry(f"sqlite:///{folder}/registry.db") as registry:
        for number, tenant in enumerate(tenants):
            account, _ = registry.accounts.add("enedis", f"{30001640000000 + number}", NOW, tenant=tenant)
            registry.invitations.create(InvitationPurpose.ACCOUNT, "enedis", "x", account_id=account.id)
        for tenant in (OURS, THEIRS, "third"):
            own = [account.id for account in registry.accounts.list_accounts() if account.tenant == tenant]
            pages: list[str] = []
            while page := registry.accounts.page(pages[-1] if pages else None, limit, tenant=tenant):
                pages += [account.id for account in page]
            assert pages == own
            assert len(own) == tenants.count(tenant)
            invited: list[Any] = []
            while batch := registry.invitations.page(invited[-1].id if invited else "", limit, tenant=tenant):
                invited += batch
            assert sorted(str(invitation.account_id) for invitation in invited) == own
            assert len(registry.invitations.list_invitations(tenant=tenant)) == len(own)
        assert len(registry.accounts.page(None, 500)) == len(tenants)


def test_an_invitation_of_another_tenant_is_neither_revoked_nor_ended_by_a_newer_one(
    registry: Registry, inviter: Inviter
) -> None:
    ours, secret = inviter.invite_meter("enedis", METER, "cli:ada")
    theirs, _ = inviter.invite_meter("enedis", METER, "cli:ada", tenant=THEIRS)
    with pytest.raises(UnknownInvitation) as refused:
        registry.invitations.revoke(ours.id, tenant=THEIRS)
    with pytest.raises(UnknownInvitation) as unknown:
        registry.invitations.revoke("zzzzzzzzzzzz", tenant=THEIRS)
    assert str(refused.value) == str(unknown.value)
    assert registry.invitations.open(secret.partition("#")[2], "a" * 64)
    assert registry.invitations.revoke(theirs.id, tenant=THEIRS).revoked_at
    inviter.invite_meter("enedis", METER, "cli:ada")
    revoked = registry.invitations.get(ours.id)
    assert revoked and revoked.revoked_at


# One meter, one account that is read


def test_h4_a_second_tenant_that_adds_or_invites_a_meter_is_told_that_it_is_elsewhere(
    registry: Registry, assertion: AccountAssertion, inviter: Inviter
) -> None:
    account, _ = assertion.add(METER, "cli:ada")
    before = all_rows(registry.database)
    for call in (
        lambda: assertion.add(METER, "token:t", tenant=THEIRS),
        lambda: inviter.invite_meter("enedis", METER, "token:t", tenant=THEIRS),
        lambda: inviter.invite_meter("enedis", METER, "token:t", new_holder=True, tenant=THEIRS),
    ):
        with pytest.raises(MeterElsewhere) as caught:
            call()
        assert caught.value.tenant == OURS
        assert account.id not in str(caught.value) and METER not in str(caught.value)
    assert all_rows(registry.database) == before
    with pytest.raises(MeterHasAccount):
        inviter.invite_meter("enedis", METER, "token:t")
    assert assertion.add(METER, "token:t") == (account, False)


def test_closed_and_erased_accounts_of_another_tenant_stand_beside_it_without_an_error(
    registry: Registry, assertion: AccountAssertion, inviter: Inviter
) -> None:
    closed, _ = assertion.add(METER, "cli:ada")
    close_account(assertion.registry.consents, closed.id, NOW)
    account, created = assertion.add(METER, "token:t", tenant=THEIRS)
    assert created and account.tenant == THEIRS
    assert registry.accounts.get(closed.id).state is AccountState.CLOSED
    assert [row.id for row in registry.accounts.page(tenant=OURS)] == [closed.id]
    registry.accounts.remove(account.id, NOW)
    with pytest.raises(MeterHasNoAccount):
        inviter.invite_meter("enedis", METER, "token:t", new_holder=True)
    assert assertion.add(METER, "cli:ada")[1]


def test_of_tenants_that_add_a_meter_at_once_one_has_it(registry: Registry, assertion: AccountAssertion) -> None:
    def add(tenant: str) -> str | None:
        try:
            return assertion.add(METER, "token:t", tenant=tenant)[0].tenant
        except MeterElsewhere:
            return None

    with ThreadPoolExecutor(4) as threads:
        owners = list(threads.map(add, (OURS, THEIRS, "third", "fourth")))
    (account,) = registry.accounts.list_accounts()
    assert [owner for owner in owners if owner] == [account.tenant]


# Webhooks


def test_a_notice_goes_to_the_webhook_of_its_accounts_tenant_and_to_the_operators_services(
    table: TenantTable,
) -> None:
    table.save(THEIRS, "Kilowatt Club")
    ours, mail = Webhook("https://ours.example", "s"), NotifyService("mailtos", "mailtos://x")
    channels = NoticeChannels(of_settings={"webhook": ours, "mailtos": mail}, tenants=table)
    assert channels.names() == ("webhook", "mailtos")
    assert channels.names(THEIRS) == ("mailtos",)
    assert channels.find("webhook", THEIRS) is None
    table.save_webhook(THEIRS, HOOK)
    assert channels.names(THEIRS) == ("webhook", "mailtos")
    assert channels.find("webhook", THEIRS) == Webhook(HOOK.url, HOOK.secret)
    assert (channels.find("webhook"), channels.find("mailtos", THEIRS)) == (ours, mail)
    alone = replace(channels, of_settings={"webhook": ours})
    assert alone.names(THEIRS) == ("webhook",)
    table.save_webhook(THEIRS, None)
    assert alone.names(THEIRS) == ("log",)
    assert isinstance(alone.find("log", THEIRS), NoticeLog)
    assert replace(channels, of_settings={"log": NoticeLog()}).names(THEIRS) == ("log",)
