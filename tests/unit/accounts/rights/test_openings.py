"""Accounts that rights open: whose they are, and which right opens none."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

import tasks.consent
from tests.support.declared_rights import (
    BROWSER,
    PCE,
    STRANGER,
    accepted,
    declare,
    declared,
    gas_accounts,
    invite,
    opened,
    step,
)
from tests.support.factories import NOW
from tests.support.parts import Parts, use_parts
from tests.support.right_register import RightRegister
from worker.accounts.gas_rights import open_by_right
from worker.domain.access_right import RightState
from worker.domain.account import AccountState
from worker.domain.clock import real_clock
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.domain.consents import ConsentKind, EndReason, Proof
from worker.domain.invitation import InvitationPurpose
from worker.domain.notice import NoticeKind
from worker.stores.redis.pending_consents import ConnectionRequests


def test_a_right_that_becomes_active_opens_one_new_account_with_its_evidence(
    parts: Parts, register: RightRegister
) -> None:
    right = declared(parts, declare(parts, invitation=invite(parts)))
    assert parts.consent.right_sweep.run(pending_only=True).opened == []
    register.change(PCE, state=RightState.ACTIVE)
    (account_id,) = parts.consent.right_sweep.run(pending_only=True).opened
    account = parts.stores.registry.accounts.get(account_id)
    assert (account.supplier, account.usage_point_id, account.state) == ("grdf", PCE, AccountState.READY)
    assert (account.consent_from, account.consent_until) == (NOW.date(), date(2027, 7, 24))
    (proof,) = parts.stores.registry.consents.list_proofs(account_id)
    assert (proof.kind, proof.proof, proof.vouched_by) == (ConsentKind.RIGHT, Proof.RIGHT, "cli:test")
    assert (proof.browser, proof.reference) == (BROWSER, "uuid-1")
    assert [row["meter"] for row in parts.stores.registry.evidence.export(account_id)] == [PCE]
    after = parts.stores.registry.rights.of_request(right.id)
    assert after is not None and (after.account_id, after.page) == (account_id, "")
    assert parts.consent.right_sweep.run(pending_only=True).opened == parts.consent.right_sweep.run().opened == []
    faults: list[str] = []
    parts.stores.registry.evidence.verify(faults.append)
    assert faults == []


def test_an_account_is_opened_for_the_tenant_of_its_invitation(parts: Parts, register: RightRegister) -> None:
    declared(parts, declare(parts, invitation=invite(parts, tenant="ville")))
    register.change(PCE, state=RightState.ACTIVE)
    parts.consent.right_sweep.run(pending_only=True)
    assert [account.tenant for account in gas_accounts(parts)] == ["ville"]


def test_the_task_starts_the_history_of_what_it_opens(
    parts: Parts, register: RightRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    use_parts(monkeypatch, parts)
    monkeypatch.setattr(tasks.consent.backfill_account, "delay", started.append)
    declared(parts, declare(parts, invitation=invite(parts)))
    register.change(PCE, state=RightState.ACTIVE)
    tasks.consent.check_rights(True)
    assert started == [account.id for account in gas_accounts(parts)]


def test_a_right_never_opens_an_account_that_exists(parts: Parts, register: RightRegister) -> None:
    """Somebody adds the meter while the holder's answer is awaited."""
    right = declared(parts, declare(parts, invitation=invite(parts)))
    account = parts.stores.registry.accounts.add("grdf", PCE, NOW, token_needed=False)[0]
    register.change(PCE, state=RightState.ACTIVE)
    assert parts.consent.right_sweep.run().opened == []
    assert (
        parts.stores.registry.accounts.get(account.id) == account
        and parts.stores.registry.consents.list_proofs(account.id) == []
    )
    after = parts.stores.registry.rights.of_request(right.id)
    assert after is not None and (after.account_id, after.page) == (None, "right_exists")


def test_a_sweep_that_has_read_a_right_before_it_opened_opens_nothing_again(
    parts: Parts, register: RightRegister
) -> None:
    """Two sweeps at once, of beat and by hand; the right is a new holder's, who closes whatever account is there."""
    before = opened(parts, register)
    register.change(PCE, state=RightState.OBSOLETE)
    invitation = invite(parts, browser=STRANGER, new_holder=True)
    right = declared(parts, declare(parts, browser=STRANGER, invitation=invitation))
    register.rights[str(right.supplier_id)] = replace(register.rights[str(right.supplier_id)], state=RightState.ACTIVE)
    (account_id,) = parts.consent.right_sweep.run(pending_only=True).opened
    assert open_by_right(parts.consent.right_sweep.outcomes, replace(right, state=RightState.ACTIVE)) is None
    states = {account.id: account.state for account in gas_accounts(parts)}
    assert states == {before.id: AccountState.CLOSED, account_id: AccountState.READY}
    (told,) = parts.stores.registry.notices.list_for_account(before.id)
    assert told.kind is NoticeKind.ACCOUNT_CLOSED
    assert len(parts.stores.registry.consents.list_proofs(account_id)) == 1


@pytest.mark.parametrize("by", ["invitation", "session and operator"])
def test_the_same_person_renews_their_account(parts: Parts, register: RightRegister, by: str) -> None:
    account = opened(parts, register)
    register.change(PCE, state=RightState.REVOKED)
    parts.consent.right_sweep.run()
    options: dict[str, Any] = {"browser": STRANGER}
    if by == "invitation":
        options["invitation"] = invite(parts, browser=STRANGER, account_id=account.id)
    else:
        options["session"] = {account.id: account.session_number}
    register.change(PCE, state=RightState.OBSOLETE)
    request = declare(parts, **options)
    right = declared(parts, request if by == "invitation" else accepted(parts, request))
    assert right.account_id == account.id and right.opened_at is None
    register.change(PCE, state=RightState.ACTIVE)
    assert parts.consent.right_sweep.run(pending_only=True).opened == [account.id]
    assert parts.stores.registry.accounts.get(account.id).state is AccountState.READY
    assert [proof.open for proof in parts.stores.registry.consents.list_proofs(account.id)] == [True, False]
    assert parts.stores.registry.consents.browser_of(account.id) == STRANGER


@pytest.mark.parametrize("left", ["nothing", "a browser", "a session"])
def test_a_new_holder_who_is_invited_gets_an_account_of_their_own(
    parts: Parts, register: RightRegister, left: str
) -> None:
    """Whatever the holder before has left in the browser."""
    before = opened(parts, register)
    register.change(PCE, state=RightState.OBSOLETE)
    invitation = invite(parts, browser=STRANGER, new_holder=True)
    assert invitation.purpose is InvitationPurpose.NEW_HOLDER
    known_as = (BROWSER,) if left == "a browser" else ()
    session = {before.id: before.session_number} if left == "a session" else {}
    declared(parts, declare(parts, browser=STRANGER, known_as=known_as, session=session, invitation=invitation))
    assert register.declarations[-1].data_from == NOW.date()
    register.change(PCE, state=RightState.ACTIVE)
    (account_id,) = parts.consent.right_sweep.run(pending_only=True).opened
    assert account_id != before.id
    assert parts.stores.registry.accounts.get(before.id).state is AccountState.CLOSED
    assert parts.stores.registry.accounts.get(account_id).data_from == NOW.date()
    assert parts.stores.registry.consents.list_proofs(before.id)[0].end_reason == EndReason.HOLDER_CHANGED
    assert [right.account_id for right in parts.stores.registry.rights.of_meter("grdf", PCE)] == [account_id]


def test_a_right_of_the_holder_before_is_none_that_the_new_one_has_declared_in_the_same_browser(
    parts: Parts, register: RightRegister
) -> None:
    """It still runs at the supplier, which registers no other; the inviter vouches for it."""
    before = opened(parts, register)
    invitation = invite(parts, browser=STRANGER, new_holder=True)
    request = declare(parts, browser=STRANGER, known_as=(BROWSER,), invitation=invitation)
    (account,) = request.accounts
    assert account.id != before.id and declared(parts, request).is_found
    assert parts.stores.registry.consents.list_proofs(account.id)[0].proof is Proof.INVITED


def test_a_new_holders_step_that_is_repeated_after_a_crash_opens_the_same_account(
    parts: Parts, register: RightRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = opened(parts, register)
    register.change(PCE, state=RightState.OBSOLETE)
    invitation = invite(parts, browser=STRANGER, new_holder=True)
    told = {"browser": STRANGER, "known_as": (BROWSER,), "session": {before.id: before.session_number}}
    save = ConnectionRequests.save

    def die_after_the_commit(requests: ConnectionRequests, request: ConnectionRequest) -> None:
        if request.state is RequestState.DECLARED:
            raise KeyboardInterrupt
        save(requests, request)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ConnectionRequests, "save", die_after_the_commit)
        declare(parts, invitation=invitation, **told)
    (request_id,) = parts.consent.requests.list_due(real_clock() + timedelta(hours=1), 9)
    register.change(PCE, state=RightState.ACTIVE)
    (account_id,) = parts.consent.right_sweep.run(pending_only=True).opened
    repeated = parts.consent.requests.get(request_id)
    assert repeated is not None and declared(parts, step(parts, repeated, hours=1)).account_id == account_id
    states = {account.id: account.state for account in gas_accounts(parts)}
    assert states == {before.id: AccountState.CLOSED, account_id: AccountState.READY}
    assert [proof.open for proof in parts.stores.registry.consents.list_proofs(account_id)] == [True]
