"""Declarations of rights: who may declare which meter, and what the supplier makes of it."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from tests.support.declared_rights import (
    BROWSER,
    OTHER,
    PCE,
    STRANGER,
    TYPED,
    declare,
    declared,
    electricity,
    gas_accounts,
    invite,
    opened,
    step,
)
from tests.support.factories import NOW
from tests.support.registries import all_rows
from tests.support.right_register import LINE, RightRegister
from worker.domain.access_right import DeclaredRight, RightRole, RightState
from worker.domain.connection_request import RequestState
from worker.domain.consents import ConsentKind, Proof
from worker.errors import RateLimited, WorkerError
from worker.runtime.process import Runtime

# Who may declare


def test_nobody_declares_a_meter_without_an_invitation_or_a_session(runtime: Runtime, register: RightRegister) -> None:
    """Anybody could name a stranger's meter with an e-mail of their own."""
    request = declare(runtime, browser=STRANGER)
    assert (request.state, request.page) == (RequestState.REFUSED, "unproven")
    assert register.declarations == [] and runtime.rights.of_browser([STRANGER]) == []
    forged = declare(runtime, browser=STRANGER, session={"k3q7d0fr2mxx": 1})
    assert forged.page == "unproven"


def test_an_invitation_serves_its_browser_and_its_meter_alone(runtime: Runtime, register: RightRegister) -> None:
    invitation = invite(runtime)
    for typed, browser in ((TYPED, STRANGER), (replace(TYPED, meter=OTHER), BROWSER)):
        request = declare(runtime, typed, browser=browser, invitation=invitation)
        assert (request.state, request.page) == (RequestState.REFUSED, "invitation_over")
    assert register.declarations == []


def test_an_invitation_for_electricity_declares_no_gas_meter_of_the_same_number(
    runtime: Runtime, register: RightRegister
) -> None:
    created = runtime.inviter.invite_meter("enedis", PCE, "cli:test")
    power = runtime.invitations.open(created[1].partition("#")[2], BROWSER)
    assert declare(runtime, invitation=power).page == "invitation_over" and register.declarations == []


def test_an_invitation_that_ends_before_the_task_declares_nothing(runtime: Runtime, register: RightRegister) -> None:
    invitation = invite(runtime)
    request = runtime.connector.declarations.begin(
        "grdf", TYPED, browser=BROWSER, address="", session={}, invitation=invitation
    )
    runtime.invitations.revoke(invitation.id)
    assert step(runtime, request).page == "invitation_over" and register.declarations == []


def test_a_session_declares_any_meter_until_it_ends(runtime: Runtime, register: RightRegister) -> None:
    account = electricity(runtime)
    session = {account.id: account.session_number}
    request = declare(runtime, session=session)
    right = declared(runtime, request)
    assert (right.vouched_by, right.account_id, right.tenant) == (None, None, account.tenant)
    other = replace(TYPED, meter=OTHER)
    begun = runtime.connector.declarations.begin("grdf", other, browser=STRANGER, address="", session=session)
    with runtime.registry.database.writing() as connection:
        runtime.consents.close(connection, account.id, NOW)
    assert declare(runtime, other, session=session).page == "unproven"
    assert step(runtime, begun).page == "unproven"
    assert len(register.declarations) == 1


def test_a_session_declares_few_meters_a_day(runtime: Runtime, register: RightRegister) -> None:
    account = electricity(runtime)
    pages = [
        declare(runtime, replace(TYPED, meter=f"1234567890123{number}"), session={account.id: 1}).page
        for number in range(7)
    ]
    assert pages[:4] == ["right_unknown_meter"] * 4 and pages[5:] == ["right_too_many"] * 2


# The declaration


def test_a_declaration_is_stored_before_all_and_dropped_at_once(
    runtime: Runtime, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    invitation = invite(runtime)
    request = declare(runtime, invitation=invitation)
    right = declared(runtime, request)
    assert (right.state, right.page, right.account_id) == (RightState.PENDING, "right_pending", None)
    assert (right.vouched_by, right.browser, right.line, right.is_found) == ("cli:test", BROWSER, LINE, False)
    (sent,) = register.declarations
    assert (sent.role, sent.first_day, sent.last_day) == (RightRole.AUTHORIZED, NOW.date(), date(2027, 7, 24))
    assert (sent.name, sent.company, sent.email, sent.postcode) == ("Durand", None, "durand@example.org", "69001")
    used = runtime.invitations.get(invitation.id)
    assert used is not None and used.used_at is not None
    kept = runtime.connection_requests.get(request.id)
    assert kept is not None and kept.declaration is None
    everything = f"{all_rows(runtime.registry.database)} {caplog.text}"
    assert not [text for text in (PCE, "Durand", "69001", "durand@", "uuid-1") if text in everything]


def test_what_the_supplier_refuses_can_be_corrected(
    runtime: Runtime, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "releve.consents")
    invitation, typed = invite(runtime), replace(TYPED, postcode="75001")
    request = declare(runtime, typed, invitation=invitation)
    assert (request.state, request.page) == (RequestState.REFUSED, "right_postcode")
    assert f"right refused by the supplier request={request.id} page=right_postcode" in caplog.text
    assert not [text for text in (typed.meter, typed.postcode, typed.email, "Durand") if text in caplog.text]
    declared(runtime, declare(runtime, TYPED, invitation=invitation))


def _raise(error: WorkerError) -> Any:
    def refuse(*_: object) -> None:
        raise error

    return refuse


def test_a_silent_supplier_is_asked_again(runtime: Runtime, register: RightRegister) -> None:
    register.silent = True
    request = declare(runtime, invitation=invite(runtime))
    assert (request.state, request.page) == (RequestState.ASKING, "unavailable")
    register.silent = False
    declared(runtime, step(runtime, request, hours=1))


def test_an_answer_that_got_lost_is_found_again(runtime: Runtime, register: RightRegister) -> None:
    """The supplier has registered the right and we don't know its number: it exists already, and is no older."""
    register.loses, account = 1, electricity(runtime)
    request = declare(runtime, session={account.id: 1})
    assert request.state is RequestState.ASKING
    right = declared(runtime, step(runtime, request, hours=1))
    assert (right.supplier_id, right.is_found, right.state) == ("uuid-1", False, RightState.PENDING)


def test_a_right_that_was_there_opens_for_whom_somebody_invites_and_for_nobody_else(
    runtime: Runtime, register: RightRegister
) -> None:
    """It proves that somebody has consented, and not who."""
    register.grant(PCE)
    account = electricity(runtime)
    assert declare(runtime, session={account.id: 1}, browser=STRANGER).page == "right_exists"
    assert gas_accounts(runtime) == []
    request = declare(runtime, invitation=invite(runtime))
    right = declared(runtime, request)
    (gas,) = gas_accounts(runtime)
    assert (right.account_id, right.is_found, right.page) == (gas.id, True, "")
    assert [one.id for one in request.accounts] == [gas.id]
    (proof,) = runtime.consents.list_proofs(gas.id)
    assert (proof.kind, proof.proof, proof.vouched_by) == (ConsentKind.RIGHT, Proof.INVITED, "cli:test")
    assert (proof.consent_from, proof.consent_until) == (date(2024, 1, 1), date(2026, 12, 31))


def test_somebody_elses_pending_right_is_not_taken_over(runtime: Runtime, register: RightRegister) -> None:
    declared(runtime, declare(runtime, invitation=invite(runtime)))
    account = electricity(runtime)
    assert declare(runtime, session={account.id: 1}, browser=STRANGER).page == "right_exists"
    register.change(PCE, state=RightState.ACTIVE)
    (account_id,) = runtime.right_sweep.run(pending_only=True).opened
    assert runtime.consents.browser_of(account_id) == BROWSER


def test_a_right_given_today_is_nobodys_who_did_not_ask_for_it(runtime: Runtime, register: RightRegister) -> None:
    """The holder has just consented on the supplier's page and is not back yet; the day alone is no proof."""
    register.grant(PCE, first_day=NOW.date())
    account = electricity(runtime)
    assert declare(runtime, session={account.id: 1}, browser=STRANGER).page == "right_exists"
    assert gas_accounts(runtime) == [] and runtime.rights.page_all() == []


def test_a_right_that_was_there_stays_nobodys_when_the_step_is_repeated(
    runtime: Runtime, register: RightRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supplier says that there is one, lists it a little later, or had no time for the first question."""
    register.grant(PCE, first_day=NOW.date())
    session = {electricity(runtime).id: 1}
    hidden, register.rights = register.rights, {}
    there = DeclaredRight(id=None, state=RightState.PENDING, line=LINE, digest="d" * 64)
    calls = runtime.clients_of("grdf").rights
    clients = runtime.suppliers["grdf"]
    for first in (lambda *_: there, _raise(RateLimited("busy"))):
        with monkeypatch.context() as patch:
            declaring = replace(clients.supplier, rights=replace(calls, declare=first))
            patch.setitem(runtime.suppliers, "grdf", replace(clients, supplier=declaring))
            request = declare(runtime, session=session, browser=STRANGER)
        assert request.state is RequestState.ASKING
        register.rights = hidden
        assert step(runtime, request, hours=1).page == "right_exists"
        register.rights = {}
    assert gas_accounts(runtime) == []


def test_a_meter_with_an_account_says_no_more_than_one_with_a_right(runtime: Runtime, register: RightRegister) -> None:
    opened(runtime, register)
    before, account = len(register.declarations), electricity(runtime)
    assert declare(runtime, session={account.id: 1}, browser=STRANGER).page == "right_exists"
    assert len(register.declarations) == before
