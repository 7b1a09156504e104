"""Declarations of rights: who may declare which meter, and what the supplier makes of it."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from tests.support.declared_rights import (
    BROWSER,
    OTHER,
    PCE,
    STRANGER,
    TYPED,
    accepted,
    begin,
    declare,
    declared,
    electricity,
    gas_accounts,
    invite,
    opened,
    step,
)
from tests.support.factories import NOW
from tests.support.parts import Parts
from tests.support.registries import all_rows
from tests.support.right_register import LINE, RightRegister
from worker.domain.access_right import DeclaredRight, RightRole, RightState
from worker.domain.clock import real_clock
from worker.domain.connection_request import RequestState
from worker.domain.consents import ConsentKind, Proof
from worker.domain.invitation import Invitation, InvitationPurpose
from worker.errors import RateLimited, WorkerError
from worker.runtime.consent_parts import build_inviter, erase
from worker.stores.registry.rights import RightTable
from worker.stores.registry.tables import INVITATIONS

# Who may declare


def test_without_an_invitation_a_declaration_waits_for_the_operator_whatever_the_session_shows(
    parts: Parts, register: RightRegister
) -> None:
    """Anybody could name a stranger's meter with an e-mail of their own; an account of another meter says nothing."""
    power, gas = electricity(parts), opened(parts, register, OTHER)
    before = len(register.declarations)
    for number, session in enumerate(({}, {power.id: power.session_number}, {gas.id: gas.session_number})):
        for meter in (PCE, OTHER):
            options = {"browser": f"{number} {meter}", "address": meter, "session": session}
            request = declare(parts, replace(TYPED, meter=meter), **options)
            assert (request.state, request.page) == (RequestState.HELD, "right_held")
    assert len(register.declarations) == before and len(parts.consent.requests.list_held()) == 6


def test_what_was_typed_waits_sealed_and_for_seven_days_at_most(parts: Parts, register: RightRegister) -> None:
    request = declare(parts)
    assert parts.consent.requests.list_held() == [request] and request.declaration == TYPED
    key = f"releve:connection_request:{request.id}"
    text = str(parts.stores.redis.get(key))
    assert not [typed for typed in (PCE, "Durand", "69001", "durand@") if typed in text]
    assert 0 < int(str(parts.stores.redis.ttl(key))) <= 7 * 86_400


def test_the_operators_yes_declares_the_right_and_stands_in_its_evidence(parts: Parts, register: RightRegister) -> None:
    right = declared(parts, accepted(parts, declare(parts)))
    assert (right.state, right.vouched_by, right.is_found) == (RightState.PENDING, "cli:operator", False)
    assert [sent.meter for sent in register.declarations] == [PCE]
    assert parts.consent.requests.list_held() == []
    register.change(PCE, state=RightState.ACTIVE)
    (account_id,) = parts.consent.right_sweep.run(pending_only=True).opened
    (proof,) = parts.stores.registry.consents.list_proofs(account_id)
    assert (proof.proof, proof.vouched_by) == (Proof.RIGHT, "cli:operator")


def test_a_declaration_that_the_operator_refuses_is_forgotten(parts: Parts, register: RightRegister) -> None:
    request = declare(parts)
    refused = parts.consent.connector.turn_away(request.id)
    assert refused is not None and (refused.state, refused.page) == (RequestState.REFUSED, "turned_away")
    kept = parts.consent.requests.get(request.id)
    assert kept is not None and kept.declaration is None
    assert parts.consent.connector.let_in(request.id, by="cli:operator") is None
    assert step(parts, request).state is RequestState.REFUSED and register.declarations == []


def test_what_came_of_an_accepted_declaration_is_told_for_as_long_as_it_could_wait(
    parts: Parts, register: RightRegister
) -> None:
    """Its person does not wait at the page, and has to learn that the postcode was wrong."""
    refused = accepted(parts, declare(parts, replace(TYPED, postcode="75001")))
    assert (refused.state, refused.page) == (RequestState.REFUSED, "right_postcode")
    kept = parts.consent.requests.get(refused.id)
    assert kept is not None and kept.declaration is None
    assert int(str(parts.stores.redis.ttl(f"releve:connection_request:{refused.id}"))) > 3600


def test_an_erasure_ends_what_a_session_of_its_account_has_declared(parts: Parts, register: RightRegister) -> None:
    account = electricity(parts)
    request = declare(parts, session={account.id: account.session_number})
    erase(parts.stores, account.id, "household")
    assert parts.consent.requests.get(request.id) is None and parts.consent.requests.list_held() == []


def test_an_invitation_serves_its_browser_and_its_meter_alone(parts: Parts, register: RightRegister) -> None:
    invitation = invite(parts)
    for typed, browser in ((TYPED, STRANGER), (replace(TYPED, meter=OTHER), BROWSER)):
        request = declare(parts, typed, browser=browser, invitation=invitation)
        assert (request.state, request.page) == (RequestState.REFUSED, "invitation_over")
    assert register.declarations == []


def test_an_invitation_for_electricity_declares_no_gas_meter_of_the_same_number(
    parts: Parts, register: RightRegister
) -> None:
    created = build_inviter(parts.stores).invite_meter("enedis", PCE, "cli:test")
    power = parts.stores.registry.invitations.open(created[1].partition("#")[2], BROWSER)
    assert declare(parts, invitation=power).page == "invitation_over" and register.declarations == []


def test_an_invitation_that_ends_before_the_task_declares_nothing(parts: Parts, register: RightRegister) -> None:
    invitation = invite(parts)
    request = begin(parts, invitation=invitation)
    parts.stores.registry.invitations.revoke(invitation.id)
    assert step(parts, request).page == "invitation_over" and register.declarations == []


def test_few_declarations_a_day_wait_without_an_invitation(parts: Parts, register: RightRegister) -> None:
    pages = [declare(parts, replace(TYPED, meter=f"1234567890123{number}")).page for number in range(7)]
    assert pages == ["right_held"] * 5 + ["right_too_many"] * 2


def begun_with_release_0_2_0(parts: Parts, session: Mapping[str, int]) -> str:
    """Store a request as release 0.2.0 does, whose sessions vouched, and return its id."""
    request_id = "5d9f3c2e7a1b4c6d8e0f"
    begun = real_clock().isoformat()
    kept: dict[str, Any] = {
        **dict.fromkeys(("invitation_id", "autorisation_id", "code", "proven", "next_try_at", "caller")),
        **dict.fromkeys(("usage_points", "accounts", "known_as"), ()),
        "id": request_id,
        "supplier": "grdf",
        "browser": BROWSER,
        "address": "192.0.2.7",
        "begun_on": begun[:10],
        "begun_at": begun,
        "created_at": begun,
        "tenant": "default",
        "session": dict(session),
        "state": "asking",
        "tries": 0,
        "new_holder": False,
        "returns_to": "",
        "readings": {},
        "declaration": asdict(TYPED),
        "page": "",
    }
    text = json.dumps(kept)
    sealed = parts.stores.keys.redis.seal(text, f"connection_request/{request_id}")
    parts.stores.redis.set(f"releve:connection_request:{request_id}", sealed, ex=604_800)
    parts.stores.redis.set(f"releve:connection_request:declared:{request_id}", "1", ex=604_800)
    parts.stores.redis.zadd("releve:connection_requests:due", {request_id: 1})
    return request_id


def test_what_a_session_declared_before_the_upgrade_waits_for_the_operator(
    parts: Parts, register: RightRegister
) -> None:
    account = electricity(parts)
    request_id = begun_with_release_0_2_0(parts, {account.id: account.session_number})
    held = parts.consent.connector.conclude(request_id)
    assert held is not None and register.declarations == []
    right = declared(parts, accepted(parts, held))
    assert (right.id, right.vouched_by) == (request_id, "cli:operator")


def test_what_was_registered_before_the_upgrade_goes_on(parts: Parts, register: RightRegister) -> None:
    """The worker of 0.2.0 was killed between the right's row and the request's."""
    request_id = begun_with_release_0_2_0(parts, {})
    right = declared(parts, declare(parts, invitation=invite(parts)))
    with parts.stores.registry.database.writing() as connection:
        parts.stores.registry.rights.insert(connection, replace(right, id=request_id), instead_of=[right.id])
    request = parts.consent.connector.conclude(request_id)
    assert request is not None and request.state is RequestState.DECLARED


# The declaration


def test_a_declaration_is_stored_before_all_and_dropped_at_once(
    parts: Parts, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    invitation = invite(parts)
    request = declare(parts, invitation=invitation)
    right = declared(parts, request)
    assert (right.state, right.page, right.account_id) == (RightState.PENDING, "right_pending", None)
    assert (right.vouched_by, right.browser, right.line, right.is_found) == ("cli:test", BROWSER, LINE, False)
    (sent,) = register.declarations
    assert (sent.role, sent.first_day, sent.last_day) == (RightRole.AUTHORIZED, NOW.date(), date(2027, 7, 24))
    assert (sent.name, sent.company, sent.email, sent.postcode) == ("Durand", None, "durand@example.org", "69001")
    used = parts.stores.registry.invitations.get(invitation.id)
    assert used is not None and used.used_at is not None
    kept = parts.consent.requests.get(request.id)
    assert kept is not None and kept.declaration is None
    everything = f"{all_rows(parts.stores.registry.database)} {caplog.text}"
    assert not [text for text in (PCE, "Durand", "69001", "durand@", "uuid-1") if text in everything]


def test_what_the_supplier_refuses_can_be_corrected(
    parts: Parts, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "releve.consents")
    invitation, typed = invite(parts), replace(TYPED, postcode="75001")
    request = declare(parts, typed, invitation=invitation)
    assert (request.state, request.page) == (RequestState.REFUSED, "right_postcode")
    assert f"right refused by the supplier request={request.id} page=right_postcode" in caplog.text
    assert not [text for text in (typed.meter, typed.postcode, typed.email, "Durand") if text in caplog.text]
    declared(parts, declare(parts, TYPED, invitation=invitation))


def _raise(error: WorkerError) -> Any:
    def refuse(*_: object) -> None:
        raise error

    return refuse


def test_a_silent_supplier_is_asked_again(parts: Parts, register: RightRegister) -> None:
    register.silent = True
    request = declare(parts, invitation=invite(parts))
    assert (request.state, request.page) == (RequestState.ASKING, "unavailable")
    register.silent = False
    declared(parts, step(parts, request, hours=1))


def test_an_invited_person_takes_the_right_whose_answer_got_lost(parts: Parts, register: RightRegister) -> None:
    """The supplier has registered the right and we don't know its number: it exists already."""
    register.loses = 1
    request = declare(parts, invitation=invite(parts))
    assert request.state is RequestState.ASKING
    right = declared(parts, step(parts, request, hours=1))
    assert (right.supplier_id, right.vouched_by, right.state) == ("uuid-1", "cli:test", RightState.PENDING)


@pytest.mark.parametrize("anew", [False, True], ids=["the step is repeated", "the person declares again"])
def test_an_invited_person_takes_the_right_that_was_registered_before_a_kill(
    parts: Parts, register: RightRegister, monkeypatch: pytest.MonkeyPatch, anew: bool
) -> None:
    class Killed(BaseException):
        """The end of a process."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    invitation = invite(parts)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RightTable, "insert", die)
        declare(parts, invitation=invitation)
    assert len(register.rights) == 1 and parts.stores.registry.rights.list_all() == []
    (request_id,) = parts.consent.requests.list_due(real_clock() + timedelta(seconds=1), 10)
    killed = parts.consent.requests.get(request_id)
    assert killed is not None
    again = begin(parts, invitation=invitation, browser="n" * 64, known_as=(BROWSER,)) if anew else killed
    right = declared(parts, step(parts, again))
    assert (right.supplier_id, right.vouched_by) == ("uuid-1", "cli:test") and len(register.rights) == 1
    register.change(PCE, state=RightState.ACTIVE)
    (account_id,) = parts.consent.right_sweep.run(pending_only=True).opened
    assert parts.stores.registry.consents.list_proofs(account_id)[0].proof is Proof.INVITED
    used = parts.stores.registry.invitations.get(invitation.id)
    assert used is not None and used.used_at is not None


def test_a_right_that_was_there_opens_for_whom_somebody_invites_and_waits_for_anybody_else(
    parts: Parts, register: RightRegister
) -> None:
    """It proves that somebody has consented, and not who."""
    register.grant(PCE)
    account = electricity(parts)
    assert declare(parts, session={account.id: 1}, browser=STRANGER).state is RequestState.HELD
    assert gas_accounts(parts) == []
    request = declare(parts, invitation=invite(parts))
    right = declared(parts, request)
    (gas,) = gas_accounts(parts)
    assert (right.account_id, right.is_found, right.page) == (gas.id, True, "")
    assert [one.id for one in request.accounts] == [gas.id]
    (proof,) = parts.stores.registry.consents.list_proofs(gas.id)
    assert (proof.kind, proof.proof, proof.vouched_by) == (ConsentKind.RIGHT, Proof.INVITED, "cli:test")
    assert (proof.consent_from, proof.consent_until) == (date(2024, 1, 1), date(2026, 12, 31))


@pytest.mark.parametrize("first_day", [date(2024, 1, 1), NOW.date()])
def test_the_operators_yes_takes_a_right_that_was_there(parts: Parts, register: RightRegister, first_day: date) -> None:
    register.grant(PCE, first_day=first_day)
    right = declared(parts, accepted(parts, declare(parts)))
    (gas,) = gas_accounts(parts)
    assert (right.account_id, right.is_found) == (gas.id, True)
    (proof,) = parts.stores.registry.consents.list_proofs(gas.id)
    assert (proof.proof, proof.vouched_by) == (Proof.INVITED, "cli:operator")


def test_the_operators_yes_takes_no_right_that_waits_for_another_persons_holder(
    parts: Parts, register: RightRegister
) -> None:
    declared(parts, declare(parts, invitation=invite(parts)))
    refused = accepted(parts, declare(parts, browser=STRANGER))
    assert (refused.state, refused.page) == (RequestState.REFUSED, "right_exists")
    register.change(PCE, state=RightState.ACTIVE)
    (account_id,) = parts.consent.right_sweep.run(pending_only=True).opened
    assert parts.stores.registry.consents.browser_of(account_id) == BROWSER


def test_the_operators_yes_to_the_former_holder_takes_no_right_that_waits_for_the_new_one(
    parts: Parts, register: RightRegister
) -> None:
    account = opened(parts, register)
    register.change(PCE, state=RightState.OBSOLETE)
    invitation = invite(parts, browser=STRANGER, new_holder=True)
    declared(parts, declare(parts, browser=STRANGER, invitation=invitation))
    refused = accepted(parts, declare(parts, browser="f" * 64, session={account.id: account.session_number}))
    assert (refused.state, refused.page) == (RequestState.REFUSED, "right_exists")
    register.change(PCE, state=RightState.ACTIVE)
    (account_id,) = parts.consent.right_sweep.run(pending_only=True).opened
    assert account_id != account.id and parts.stores.registry.consents.browser_of(account_id) == STRANGER


def test_the_operators_yes_takes_the_right_that_an_own_account_has(parts: Parts, register: RightRegister) -> None:
    account = opened(parts, register)
    asked = declare(parts, browser=STRANGER, session={account.id: account.session_number})
    assert declared(parts, accepted(parts, asked)).account_id == account.id


@pytest.mark.parametrize("first", ["there", "busy"])
def test_a_right_that_the_supplier_lists_late_waits_for_its_next_try(
    parts: Parts, register: RightRegister, monkeypatch: pytest.MonkeyPatch, first: str
) -> None:
    """The supplier says that there is one, lists it a little later, or had no time for the first question."""
    register.grant(PCE)
    hidden, register.rights = register.rights, {}
    there = DeclaredRight(id=None, state=RightState.PENDING, line=LINE, digest="d" * 64)
    clients = parts.sync.suppliers["grdf"]
    answer = (lambda *_: there) if first == "there" else _raise(RateLimited("busy"))
    with monkeypatch.context() as patch:
        declaring = replace(
            clients.supplier, rights=replace(parts.sync.suppliers.clients_of("grdf").rights, declare=answer)
        )
        patch.setitem(parts.sync.suppliers, "grdf", replace(clients, supplier=declaring))
        request = declare(parts, invitation=invite(parts))
    assert request.state is RequestState.ASKING
    register.rights = hidden
    assert declared(parts, step(parts, request, hours=1)).supplier_id == "uuid-1"


def test_the_operators_yes_opens_no_account_of_another_person(parts: Parts, register: RightRegister) -> None:
    account = opened(parts, register)
    before = len(register.declarations)
    assert accepted(parts, declare(parts, browser=STRANGER)).page == "right_exists"
    assert len(register.declarations) == before and parts.stores.registry.accounts.get(account.id) == account


# A campaign's mail to an address of a list


def listed(parts: Parts, meter: str = PCE, browser: str = BROWSER) -> Invitation:
    invitations = parts.stores.registry.invitations
    _, secret = invitations.create(InvitationPurpose.METER, "grdf", "campaign:c1:list", usage_point_id=meter)
    invitation = invitations.open(secret, browser)
    assert invitation is not None and invitation.is_listed
    return invitation


def test_a_listed_invitation_declares_nothing_before_the_operators_yes(parts: Parts, register: RightRegister) -> None:
    """The holder may say yes at GRDF to what a wrong person has declared."""
    account = opened(parts, register)
    register.change(PCE, state=RightState.OBSOLETE)
    before = len(register.declarations)
    for session in ({}, {account.id: account.session_number}):
        request = declare(parts, browser=STRANGER, invitation=listed(parts, browser=STRANGER), session=session)
        assert (request.state, request.page) == (RequestState.HELD, "right_held")
    begun = replace(request, id="earl1er", state=RequestState.ASKING, page="")  # Begun in an earlier release.
    parts.consent.requests.create(begun)
    assert step(parts, begun).state is RequestState.HELD and len(register.declarations) == before


@pytest.mark.parametrize("late", [False, True])
def test_with_the_operators_yes_a_listed_invitation_renews_the_account(
    parts: Parts, register: RightRegister, late: bool
) -> None:
    account = opened(parts, register)
    register.change(PCE, state=RightState.OBSOLETE)
    request = declare(parts, browser=STRANGER, invitation=listed(parts, browser=STRANGER))
    if late:  # The operator takes more than 72 hours.
        parts.stores.registry.database.change(update(INVITATIONS).values(expires_at=real_clock()))
    right = declared(parts, accepted(parts, request))
    assert (right.account_id, right.vouched_by) == (account.id, "cli:operator")
    register.change(PCE, state=RightState.ACTIVE)
    assert parts.consent.right_sweep.run(pending_only=True).opened == [account.id]
    newest = parts.stores.registry.consents.list_proofs(account.id)[0]
    assert (newest.proof, newest.vouched_by, newest.browser) == (Proof.RIGHT, "cli:operator", STRANGER)


def test_a_listed_invitation_renews_no_other_meters_account(parts: Parts, register: RightRegister) -> None:
    opened(parts, register)
    before = len(register.declarations)
    request = declare(parts, browser=STRANGER, invitation=listed(parts, OTHER, browser=STRANGER))
    assert accepted(parts, request).page == "right_exists" and len(register.declarations) == before


def test_a_listed_invitation_takes_no_right_that_another_browser_waits_for(
    parts: Parts, register: RightRegister
) -> None:
    declared(parts, declare(parts, invitation=invite(parts)))
    request = declare(parts, browser=STRANGER, invitation=listed(parts, browser=STRANGER))
    refused = accepted(parts, request)
    assert (refused.state, refused.page) == (RequestState.REFUSED, "right_exists")
