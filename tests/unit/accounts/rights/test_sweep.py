"""The sweep over rights: what ends, what is an incident, and what the operator is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest
from sqlalchemy import update

from tests.support.declared_rights import PCE, SEVERAL, all_notices, declare, declared, invite, opened
from tests.support.factories import NOW
from tests.support.parts import Parts
from tests.support.right_register import RightRegister
from worker.accounts.refusals import Ruling
from worker.accounts.right_sweep import RightSummary
from worker.domain.access_right import ProofState, RightRecord, RightState
from worker.domain.account import Account, AccountState
from worker.domain.consents import EndReason
from worker.domain.incident import IncidentKind
from worker.domain.notice import NoticeKind
from worker.errors import ConsentRevoked, RightEnded, SupplierUnavailable
from worker.stores.registry.accounts import NewConsent
from worker.stores.registry.tables import SERIES_OUTCOMES

ENDED = (RightState.REVOKED, RightState.REFUSED, RightState.OBSOLETE, RightState.TO_CHECK)


def add_all(parts: Parts, supplier: str, meters: list[str]) -> list[Account]:
    added = parts.stores.registry.accounts.add_all(supplier, meters, NOW, NewConsent(token_needed=False))
    return [account for account, _ in added]


def add_granted(parts: Parts, register: RightRegister, meters: list[str]) -> None:
    """Add accounts whose holders have given their right on the supplier's own page."""
    for meter in meters:
        register.grant(meter)
    add_all(parts, "grdf", meters)


def test_an_ended_right_is_noticed_in_one_sweep(parts: Parts, register: RightRegister) -> None:
    accounts = {state: opened(parts, register, meter) for meter, state in zip(SEVERAL, ENDED, strict=True)}
    for state, account in accounts.items():
        register.change(str(account.usage_point_id), state=state)
    assert parts.consent.right_sweep.run().ended == len(ENDED)
    for state, account in accounts.items():
        after = parts.stores.registry.accounts.get(account.id)
        assert (after.state, after.reason) == (AccountState.ACTION_NEEDED, RightEnded.code), state
        (proof,) = parts.stores.registry.consents.list_proofs(account.id)
        assert proof.end_reason == ("" if state is RightState.TO_CHECK else RightEnded.code)
        notices = [one for one in all_notices(parts) if one.account_id == account.id]
        assert [(one.kind, one.reason) for one in notices] == [(NoticeKind.ACTION_NEEDED, RightEnded.code)]
    assert parts.consent.right_sweep.run().ended == 0


def test_a_right_that_is_good_again_starts_its_account_again(parts: Parts, register: RightRegister) -> None:
    account = opened(parts, register)
    register.change(PCE, state=RightState.TO_CHECK)
    parts.consent.right_sweep.run()
    register.change(PCE, state=RightState.ACTIVE)
    assert parts.consent.right_sweep.run().opened == [account.id]
    assert parts.stores.registry.accounts.get(account.id).state is AccountState.READY
    (proof,) = parts.stores.registry.consents.list_proofs(account.id)
    assert proof.open, "while the supplier checked the right, nothing was read and the consent stood"


def test_a_right_that_does_not_stand_the_suppliers_check_ends_its_consent(
    parts: Parts, register: RightRegister
) -> None:
    account = opened(parts, register)
    for state, is_open in ((RightState.TO_CHECK, True), (RightState.REVOKED, False)):
        register.change(PCE, state=state)
        parts.consent.right_sweep.run()
        (proof,) = parts.stores.registry.consents.list_proofs(account.id)
        assert (proof.open, parts.stores.registry.accounts.get(account.id).reason) == (is_open, RightEnded.code)
    assert proof.end_reason == RightEnded.code
    assert len([one for one in all_notices(parts) if one.account_id == account.id]) == 1


def test_a_right_that_is_given_again_before_the_check_keeps_its_account_ready(
    parts: Parts, register: RightRegister
) -> None:
    """One check sees both: the right before was revoked, and the holder has accepted the new one."""
    account = opened(parts, register)
    register.change(PCE, state=RightState.REVOKED)
    invitation = invite(parts, account_id=account.id)
    declared(parts, declare(parts, invitation=invitation))
    register.rights["uuid-2"] = replace(register.rights["uuid-2"], state=RightState.ACTIVE)
    checked = parts.consent.right_sweep.run()
    assert (checked.opened, checked.ended) == ([account.id], 0)
    assert parts.stores.registry.accounts.get(account.id).state is AccountState.READY
    rows = [(row["event"], row["end_reason"]) for row in parts.stores.registry.evidence.export(account.id)]
    assert rows == [("given", ""), ("ended", EndReason.RENEWED), ("given", "")]


def test_a_right_that_another_check_has_just_opened_keeps_its_account_ready(
    parts: Parts, register: RightRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check of all rights has read the new one before the quarter-hourly check opened it."""
    account = opened(parts, register)
    register.change(PCE, state=RightState.REVOKED)
    declared(parts, declare(parts, invitation=invite(parts, account_id=account.id)))
    register.rights["uuid-2"] = replace(register.rights["uuid-2"], state=RightState.ACTIVE)
    clients, ran = parts.sync.suppliers["grdf"], [RightSummary()]

    def list_rights(session: object, meters: Sequence[str]) -> Sequence[RightRecord]:
        if len(ran) == 1:
            ran.append(RightSummary())
            ran[1] = parts.consent.right_sweep.run(pending_only=True)
        return register.list_rights(session, meters)

    calls = replace(parts.sync.suppliers.clients_of("grdf").rights, list_rights=list_rights)
    monkeypatch.setitem(
        parts.sync.suppliers, "grdf", replace(clients, supplier=replace(clients.supplier, rights=calls))
    )
    checked = parts.consent.right_sweep.run()
    assert (ran[1].opened, checked.opened, checked.ended) == ([account.id], [], 0)
    assert parts.stores.registry.accounts.get(account.id).state is AccountState.READY


def test_one_active_right_of_several_is_enough_for_its_own_account_alone(parts: Parts, register: RightRegister) -> None:
    """The right of whoever moves in must not keep the account of whoever has moved out."""
    account = opened(parts, register)
    register.grant(PCE)
    (mine,) = parts.stores.registry.rights.of_account(account.id)
    register.rights["uuid-1"] = replace(register.rights["uuid-1"], state=RightState.REVOKED)
    assert mine.supplier_id == "uuid-1" and parts.consent.right_sweep.run().ended == 1


def test_many_rights_that_end_at_once_are_an_incident_and_few_of_many_are_none(
    parts: Parts, register: RightRegister
) -> None:
    meters = [f"123456789012{number:02}" for number in range(40)]
    add_granted(parts, register, meters)
    assert parts.consent.right_sweep.run().checked == 40
    for meter in meters[:6]:
        register.change(meter, state=RightState.REVOKED)
    assert parts.consent.right_sweep.run().ended == 6  # 15 %: nothing but people who leave.
    for meter in meters[6:26]:
        register.change(meter, state=RightState.REVOKED)
    assert parts.consent.right_sweep.run().ended == 0
    assert [incident.kind for incident in parts.sync.incidents.list_open()] == [IncidentKind.CONSENT]
    states = [parts.stores.registry.accounts.find("grdf", meter) for meter in meters[6:]]
    assert {account.state for account in states if account} == {AccountState.READY}
    assert parts.consent.right_sweep.run().ended == 0


def test_accounts_of_another_supplier_hide_no_incident(parts: Parts, register: RightRegister) -> None:
    """The supplier lists all rights as ended by mistake, in a fleet that reads mostly electricity."""
    meters = [f"123456789012{number:02}" for number in range(6)]
    add_granted(parts, register, meters)
    add_all(parts, "enedis", [f"300016400{number:05}" for number in range(60)])
    with parts.stores.registry.database.writing() as connection:
        connection.execute(update(SERIES_OUTCOMES).values(updated_at=NOW))
    pending = parts.stores.registry.pending_refusals
    assert pending.count_accounts_asked(NOW - timedelta(hours=1), limit=100, supplier="enedis") == 60
    parts.consent.right_sweep.run()
    for meter in meters:
        register.change(meter, state=RightState.REVOKED)
    assert parts.consent.right_sweep.run().ended == 0
    assert [incident.kind for incident in parts.sync.incidents.list_open()] == [IncidentKind.CONSENT]


def test_refusals_are_held_against_the_accounts_of_their_supplier(parts: Parts) -> None:
    """All homes with gas are refused by mistake, among many with electricity, one of which has really left."""
    revoked, now = ConsentRevoked("no right"), parts.stores.now()
    power = add_all(parts, "enedis", [f"300016400{number:05}" for number in range(60)])
    gas = add_all(parts, "grdf", [f"123456789012{number:02}" for number in range(10)])
    with parts.stores.registry.database.writing() as connection:
        connection.execute(update(SERIES_OUTCOMES).values(updated_at=now))
    parts.sync.refusals.record_refusal(power[0].id, revoked)
    later = replace(parts.sync.refusals, now=lambda: now + timedelta(hours=7))
    assert later.record_refusal(power[0].id, revoked) is Ruling.SUSPENDED
    with parts.stores.registry.database.writing() as connection:
        connection.execute(update(SERIES_OUTCOMES).values(updated_at=now + timedelta(hours=7)))
    assert Ruling.INCIDENT in [later.record_refusal(account.id, revoked) for account in gas]
    assert parts.stores.registry.accounts.get(power[0].id).state is AccountState.ACTION_NEEDED


def test_lists_are_no_longer_than_the_supplier_takes(
    parts: Parts, register: RightRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients, calls = (
        parts.sync.suppliers["grdf"],
        replace(parts.sync.suppliers.clients_of("grdf").rights, longest_list=3),
    )
    monkeypatch.setitem(
        parts.sync.suppliers, "grdf", replace(clients, supplier=replace(clients.supplier, rights=calls))
    )
    add_granted(parts, register, [f"1234567890123{number}" for number in range(8)])
    parts.consent.right_sweep.run()
    assert [len(asked) for asked in register.asked] == [3, 3, 2]


def test_a_right_whose_last_day_is_over_ends_as_a_consent_does(parts: Parts, register: RightRegister) -> None:
    account = opened(parts, register)
    register.change(PCE, last_day=date(2024, 7, 24))
    assert parts.consent.right_sweep.run().ended == 1
    assert parts.stores.registry.accounts.get(account.id).state is AccountState.ACTION_NEEDED


def test_what_the_supplier_does_not_list_is_left_alone(parts: Parts, register: RightRegister) -> None:
    account = opened(parts, register)
    register.rights.clear()
    assert parts.consent.right_sweep.run().ended == 0
    assert parts.stores.registry.accounts.get(account.id).state is AccountState.READY


def test_a_silent_supplier_changes_nothing(parts: Parts, register: RightRegister) -> None:
    account = opened(parts, register)
    register.silent = True
    with pytest.raises(SupplierUnavailable):
        parts.consent.right_sweep.run()
    assert parts.stores.registry.accounts.get(account.id).state is AccountState.READY


def test_the_operator_is_told_of_a_proof_once_and_again_near_its_end(parts: Parts, register: RightRegister) -> None:
    right = declared(parts, declare(parts, invitation=invite(parts)))
    for proof, until, kinds in (
        (ProofState.AWAITED, date(2024, 8, 20), [NoticeKind.RIGHT_PROOF_AWAITED]),
        (ProofState.AWAITED, date(2024, 8, 20), []),
        (ProofState.AWAITED, date(2024, 7, 27), [NoticeKind.RIGHT_PROOF_AWAITED, NoticeKind.RIGHT_PROOF_ENDS]),
        (ProofState.REJECTED, date(2024, 7, 27), [NoticeKind.RIGHT_PROOF_REJECTED]),
    ):
        before = {notice.id for notice in all_notices(parts)}
        register.change(PCE, proof=proof, proof_until=until)
        parts.consent.right_sweep.run(pending_only=True)
        new = [notice for notice in all_notices(parts) if notice.id not in before]
        assert sorted(notice.kind for notice in new) == sorted(kinds)
        assert all(notice.account_id is None and notice.about == f"{right.id}@{until}" for notice in new)
