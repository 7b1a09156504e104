"""Rights of access from the declaration to their withdrawal: who may declare, what opens, and what is noticed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

import tasks.consent
import tasks.upkeep
from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.registries import all_rows
from tests.support.right_register import LINE, RightRegister
from worker.accounts.refusals import Ruling
from worker.clients.tokens import ApplicationTokens
from worker.domain.clock import real_clock
from worker.domain.consent.accounts import Account, AccountState
from worker.domain.consent.connection_requests import ConnectionRequest, RequestState
from worker.domain.consent.consents import ConsentKind, EndReason, Notice, NoticeKind, Proof
from worker.domain.consent.invitations import Invitation, InvitationPurpose
from worker.domain.consent.rights import (
    DeclaredRight,
    HouseholdDeclaration,
    ProofState,
    Right,
    RightRole,
    RightState,
)
from worker.domain.fleet.incidents import IncidentKind
from worker.errors import (
    ConsentRevoked,
    ConsentStopped,
    OperatorFault,
    RateLimited,
    RightEnded,
    SupplierUnavailable,
    WorkerError,
)
from worker.runtime.process import Runtime
from worker.stores.registry.consent_rows import NOTICE_QUERY
from worker.stores.registry.tables import RIGHTS, SERIES_OUTCOMES

PCE, OTHER = "12345678901234", "GI123456"
TYPED = HouseholdDeclaration(meter=PCE, postcode="69001", email="durand@example.org", name="Durand")
BROWSER, STRANGER = "b" * 64, "s" * 64
GAS = {"grdf_url": "http://127.0.0.1:9", "grdf_client_id": "grdf-test", "grdf_client_secret": "s3cret-of-grdf"}
ENDED = (RightState.REVOKED, RightState.REFUSED, RightState.OBSOLETE, RightState.TO_CHECK)


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> RightRegister:
    register = RightRegister(postcodes={PCE: "69001", OTHER: "69001"})
    register.install(monkeypatch)
    return register


@pytest.fixture
def runtime(installation: Installation, register: RightRegister) -> Iterator[Runtime]:
    with installation.but(**GAS).open() as runtime:
        yield runtime


def invite(runtime: Runtime, meter: str = PCE, browser: str = BROWSER, **options: Any) -> Invitation:
    """Return an invitation for a gas meter, or for an account, that the browser has opened."""
    if account := options.get("account_id"):
        created = runtime.inviter.invite_account(account, "cli:test")
    else:
        created = runtime.inviter.invite_meter("grdf", meter, "cli:test", **options)
    opened = runtime.invitations.open(created[1].partition("#")[2], browser)
    assert opened is not None
    return opened


def declare(runtime: Runtime, typed: HouseholdDeclaration = TYPED, **options: Any) -> ConnectionRequest:
    """Declare a right as the page does, let the worker's task do its step, and return what came of it."""
    usual: dict[str, Any] = {"browser": BROWSER, "address": "192.0.2.7", "session": {}, "invitation": None}
    request = runtime.connector.declarations.begin("grdf", typed, **{**usual, **options})
    return step(runtime, request)


def step(runtime: Runtime, request: ConnectionRequest, hours: int = 0) -> ConnectionRequest:
    later = real_clock() + timedelta(hours=hours)
    after = replace(runtime.connector, real_now=lambda: later).conclude(request.id)
    assert after is not None
    return after


def declared(runtime: Runtime, request: ConnectionRequest) -> Right:
    assert (request.state, request.page) == (RequestState.DECLARED, "")
    right = runtime.rights.of_request(request.id)
    assert right is not None
    return right


def opened(runtime: Runtime, register: RightRegister, meter: str = PCE, browser: str = BROWSER) -> Account:
    """Return the account of a household that was invited, has declared and has said yes to the supplier."""
    invitation = invite(runtime, meter, browser)
    declared(runtime, declare(runtime, replace(TYPED, meter=meter), browser=browser, invitation=invitation))
    register.change(meter, state=RightState.ACTIVE)
    (account_id,) = runtime.right_sweep.run(pending_only=True).opened
    return runtime.registry.get(account_id)


def all_notices(runtime: Runtime) -> list[Notice]:
    rows = runtime.registry.database.fetch(NOTICE_QUERY)
    return [Notice(**row._asdict()) for row in rows]


def gas_accounts(runtime: Runtime) -> list[Account]:
    return [account for account in runtime.registry.list() if account.supplier == "grdf"]


def _raise(error: WorkerError) -> Any:
    def refuse(*_: object) -> None:
        raise error

    return refuse


def electricity(runtime: Runtime) -> Account:
    return runtime.registry.add("enedis", "30001640000011", NOW, token_needed=False)[0]


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


@pytest.mark.parametrize(
    ("typed", "page"),
    [
        (replace(TYPED, postcode="75001"), "right_postcode"),
        (replace(TYPED, meter="99999999999999"), "right_unknown_meter"),
    ],
)
def test_what_the_supplier_refuses_can_be_corrected(
    runtime: Runtime,
    register: RightRegister,
    caplog: pytest.LogCaptureFixture,
    typed: HouseholdDeclaration,
    page: str,
) -> None:
    caplog.set_level(logging.INFO, "releve.consents")
    invitation = invite(runtime, typed.meter)
    request = declare(runtime, typed, invitation=invitation)
    assert (request.state, request.page) == (RequestState.REFUSED, page)
    assert f"right refused by the supplier request={request.id} page={page}" in caplog.text
    assert not [text for text in (typed.meter, typed.postcode, typed.email, "Durand") if text in caplog.text]
    register.postcodes[typed.meter] = "69001"
    declared(runtime, declare(runtime, replace(typed, postcode="69001"), invitation=invitation))


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


def test_an_ended_right_says_so(runtime: Runtime, register: RightRegister) -> None:
    right = declared(runtime, declare(runtime, invitation=invite(runtime)))
    register.change(PCE, state=RightState.REFUSED)
    assert runtime.right_sweep.run(pending_only=True).opened == []
    after = runtime.rights.of_request(right.id)
    assert after is not None and after.page == "right_refused"
    assert gas_accounts(runtime) == []


# The opening


def test_a_right_that_becomes_active_opens_one_new_account_with_its_evidence(
    runtime: Runtime, register: RightRegister
) -> None:
    right = declared(runtime, declare(runtime, invitation=invite(runtime)))
    assert runtime.right_sweep.run(pending_only=True).opened == []
    register.change(PCE, state=RightState.ACTIVE)
    (account_id,) = runtime.right_sweep.run(pending_only=True).opened
    account = runtime.registry.get(account_id)
    assert (account.supplier, account.usage_point_id, account.state) == ("grdf", PCE, AccountState.READY)
    assert (account.consent_from, account.consent_until) == (NOW.date(), date(2027, 7, 24))
    (proof,) = runtime.consents.list_proofs(account_id)
    assert (proof.kind, proof.proof, proof.vouched_by) == (ConsentKind.RIGHT, Proof.RIGHT, "cli:test")
    assert (proof.browser, proof.reference) == (BROWSER, "uuid-1")
    assert [row["meter"] for row in runtime.evidence.export(account_id)] == [PCE]
    after = runtime.rights.of_request(right.id)
    assert after is not None and (after.account_id, after.page) == (account_id, "")
    assert runtime.right_sweep.run(pending_only=True).opened == runtime.right_sweep.run().opened == []
    faults: list[str] = []
    runtime.evidence.verify(faults.append)
    assert faults == []


def test_an_account_is_opened_for_the_tenant_of_the_account_whose_page_the_form_was_on(
    runtime: Runtime, register: RightRegister
) -> None:
    """A session may show accounts of several services; the form has named one of them as the reader."""
    first = electricity(runtime)
    second, _ = runtime.registry.add("enedis", "30001640000022", NOW, token_needed=False, tenant="ville")
    session = {account.id: account.session_number for account in (first, second)}
    right = declared(runtime, declare(runtime, session=session, account_id=second.id))
    assert right.tenant == "ville"


def test_an_account_is_opened_for_the_tenant_of_its_invitation(runtime: Runtime, register: RightRegister) -> None:
    declared(runtime, declare(runtime, invitation=invite(runtime, tenant="ville")))
    register.change(PCE, state=RightState.ACTIVE)
    runtime.right_sweep.run(pending_only=True)
    assert [account.tenant for account in gas_accounts(runtime)] == ["ville"]


def test_the_task_starts_the_history_of_what_it_opens(
    runtime: Runtime, register: RightRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[str] = []
    monkeypatch.setattr(tasks.consent, "get_runtime", lambda: runtime)
    monkeypatch.setattr(tasks.consent.backfill_account, "delay", started.append)
    declared(runtime, declare(runtime, invitation=invite(runtime)))
    register.change(PCE, state=RightState.ACTIVE)
    tasks.consent.check_rights(True)
    assert started == [account.id for account in gas_accounts(runtime)]


def test_a_right_never_opens_an_account_that_exists(runtime: Runtime, register: RightRegister) -> None:
    """Somebody adds the meter while the holder's answer is awaited."""
    right = declared(runtime, declare(runtime, invitation=invite(runtime)))
    account = runtime.registry.add("grdf", PCE, NOW, token_needed=False)[0]
    register.change(PCE, state=RightState.ACTIVE)
    assert runtime.right_sweep.run().opened == []
    assert runtime.registry.get(account.id) == account and runtime.consents.list_proofs(account.id) == []
    after = runtime.rights.of_request(right.id)
    assert after is not None and (after.account_id, after.page) == (None, "right_exists")


def test_a_sweep_that_has_read_a_right_before_it_opened_opens_nothing_again(
    runtime: Runtime, register: RightRegister
) -> None:
    """Two sweeps at once, of beat and by hand; the right is a new holder's, who closes whatever account is there."""
    before = opened(runtime, register)
    register.change(PCE, state=RightState.OBSOLETE)
    invitation = invite(runtime, browser=STRANGER, new_holder=True)
    right = declared(runtime, declare(runtime, browser=STRANGER, invitation=invitation))
    register.rights[str(right.supplier_id)] = replace(register.rights[str(right.supplier_id)], state=RightState.ACTIVE)
    (account_id,) = runtime.right_sweep.run(pending_only=True).opened
    openings = runtime.right_sweep.openings
    assert openings.open(replace(right, state=RightState.ACTIVE)) is None
    states = {account.id: account.state for account in gas_accounts(runtime)}
    assert states == {before.id: AccountState.CLOSED, account_id: AccountState.READY}
    assert len(runtime.consents.list_proofs(account_id)) == 1


@pytest.mark.parametrize("by", ["invitation", "session"])
def test_the_same_person_renews_their_account(runtime: Runtime, register: RightRegister, by: str) -> None:
    account = opened(runtime, register)
    register.change(PCE, state=RightState.REVOKED)
    runtime.right_sweep.run()
    options: dict[str, Any] = {"browser": STRANGER}
    if by == "invitation":
        options["invitation"] = invite(runtime, browser=STRANGER, account_id=account.id)
    else:
        options["session"] = {account.id: account.session_number}
    register.change(PCE, state=RightState.OBSOLETE)
    right = declared(runtime, declare(runtime, **options))
    assert right.account_id == account.id and right.opened_at is None
    register.change(PCE, state=RightState.ACTIVE)
    assert runtime.right_sweep.run(pending_only=True).opened == [account.id]
    assert runtime.registry.get(account.id).state is AccountState.READY
    assert [proof.open for proof in runtime.consents.list_proofs(account.id)] == [True, False]
    assert runtime.consents.browser_of(account.id) == STRANGER


def test_a_new_holder_who_is_invited_gets_an_account_of_their_own(runtime: Runtime, register: RightRegister) -> None:
    before = opened(runtime, register)
    register.change(PCE, state=RightState.OBSOLETE)
    invitation = invite(runtime, browser=STRANGER, new_holder=True)
    assert invitation.purpose is InvitationPurpose.NEW_HOLDER
    declared(runtime, declare(runtime, browser=STRANGER, invitation=invitation))
    assert register.declarations[-1].data_from == NOW.date()
    register.change(PCE, state=RightState.ACTIVE)
    (account_id,) = runtime.right_sweep.run(pending_only=True).opened
    assert account_id != before.id
    assert runtime.registry.get(before.id).state is AccountState.CLOSED
    assert runtime.registry.get(account_id).data_from == NOW.date()
    assert runtime.consents.list_proofs(before.id)[0].end_reason == EndReason.HOLDER_CHANGED
    assert [right.account_id for right in runtime.rights.of_meter("grdf", PCE)] == [account_id]


# The sweep


@pytest.mark.parametrize("state", ENDED)
def test_an_ended_right_is_noticed_in_one_sweep(runtime: Runtime, register: RightRegister, state: RightState) -> None:
    account = opened(runtime, register)
    register.change(PCE, state=state)
    assert runtime.right_sweep.run().ended == 1
    after = runtime.registry.get(account.id)
    assert (after.state, after.reason) == (AccountState.ACTION_NEEDED, RightEnded.code)
    (proof,) = runtime.consents.list_proofs(account.id)
    assert proof.end_reason == RightEnded.code
    notices = [one for one in all_notices(runtime) if one.account_id == account.id]
    assert [(one.kind, one.reason) for one in notices] == [(NoticeKind.ACTION_NEEDED, RightEnded.code)]
    assert runtime.right_sweep.run().ended == 0


def test_a_right_that_is_good_again_starts_its_account_again(runtime: Runtime, register: RightRegister) -> None:
    account = opened(runtime, register)
    register.change(PCE, state=RightState.TO_CHECK)
    runtime.right_sweep.run()
    register.change(PCE, state=RightState.ACTIVE)
    assert runtime.right_sweep.run().opened == [account.id]
    assert runtime.registry.get(account.id).state is AccountState.READY
    assert runtime.consents.list_proofs(account.id)[0].open


def test_one_active_right_of_several_is_enough_for_its_own_account_alone(
    runtime: Runtime, register: RightRegister
) -> None:
    """The right of whoever moves in must not keep the account of whoever has moved out."""
    account = opened(runtime, register)
    register.grant(PCE)
    (mine,) = runtime.rights.of_account(account.id)
    register.rights["uuid-1"] = replace(register.rights["uuid-1"], state=RightState.REVOKED)
    assert mine.supplier_id == "uuid-1" and runtime.right_sweep.run().ended == 1


def test_many_rights_that_end_at_once_are_an_incident_and_few_of_many_are_none(
    runtime: Runtime, register: RightRegister
) -> None:
    meters = [f"123456789012{number:02}" for number in range(40)]
    for meter in meters:
        register.grant(meter)
        runtime.registry.add("grdf", meter, NOW, token_needed=False)
    assert runtime.right_sweep.run().checked == 40
    for meter in meters[:6]:
        register.change(meter, state=RightState.REVOKED)
    assert runtime.right_sweep.run().ended == 6  # 15 %: nothing but people who leave.
    for meter in meters[6:26]:
        register.change(meter, state=RightState.REVOKED)
    assert runtime.right_sweep.run().ended == 0
    assert [incident.kind for incident in runtime.incidents.list_open()] == [IncidentKind.CONSENT]
    states = [runtime.registry.find("grdf", meter) for meter in meters[6:]]
    assert {account.state for account in states if account} == {AccountState.READY}
    assert runtime.right_sweep.run().ended == 0


def test_accounts_of_another_supplier_hide_no_incident(runtime: Runtime, register: RightRegister) -> None:
    """The supplier lists all rights as ended by mistake, in a fleet that reads mostly electricity."""
    meters = [f"123456789012{number:02}" for number in range(6)]
    for meter in meters:
        register.grant(meter)
        runtime.registry.add("grdf", meter, NOW, token_needed=False)
    for number in range(60):
        runtime.registry.add("enedis", f"300016400{number:05}", NOW, token_needed=False)
    with runtime.registry.database.writing() as connection:
        connection.execute(update(SERIES_OUTCOMES).values(updated_at=NOW))
    assert runtime.refusals.pending.count_accounts_asked(NOW - timedelta(hours=1), limit=100, supplier="enedis") == 60
    runtime.right_sweep.run()
    for meter in meters:
        register.change(meter, state=RightState.REVOKED)
    assert runtime.right_sweep.run().ended == 0
    assert [incident.kind for incident in runtime.incidents.list_open()] == [IncidentKind.CONSENT]


def test_refusals_are_held_against_the_accounts_of_their_supplier(runtime: Runtime) -> None:
    """All homes with gas are refused by mistake, among many with electricity, one of which has really left."""
    revoked, now = ConsentRevoked("no right"), runtime.now()
    power = [
        runtime.registry.add("enedis", f"300016400{number:05}", NOW, token_needed=False)[0] for number in range(60)
    ]
    gas = [runtime.registry.add("grdf", f"123456789012{number:02}", NOW, token_needed=False)[0] for number in range(10)]
    with runtime.registry.database.writing() as connection:
        connection.execute(update(SERIES_OUTCOMES).values(updated_at=now))
    runtime.refusals.record_refusal(power[0].id, revoked)
    later = replace(runtime.refusals, now=lambda: now + timedelta(hours=7))
    assert later.record_refusal(power[0].id, revoked) is Ruling.SUSPENDED
    with runtime.registry.database.writing() as connection:
        connection.execute(update(SERIES_OUTCOMES).values(updated_at=now + timedelta(hours=7)))
    assert Ruling.INCIDENT in [later.record_refusal(account.id, revoked) for account in gas]
    assert runtime.registry.get(power[0].id).state is AccountState.ACTION_NEEDED


def test_lists_are_no_longer_than_the_supplier_takes(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = RightRegister(longest_list=7)
    register.install(monkeypatch)
    with installation.but(**GAS).open() as runtime:
        for number in range(20):
            meter = f"123456789012{number:02}"
            register.grant(meter)
            runtime.registry.add("grdf", meter, NOW, token_needed=False)
        runtime.right_sweep.run()
        assert [len(asked) for asked in register.asked] == [7, 7, 6]


def test_a_right_whose_last_day_is_over_ends_as_a_consent_does(runtime: Runtime, register: RightRegister) -> None:
    account = opened(runtime, register)
    register.change(PCE, last_day=date(2024, 7, 24))
    assert runtime.right_sweep.run().ended == 1
    assert runtime.registry.get(account.id).state is AccountState.ACTION_NEEDED


def test_what_the_supplier_does_not_list_is_left_alone(runtime: Runtime, register: RightRegister) -> None:
    account = opened(runtime, register)
    register.rights.clear()
    assert runtime.right_sweep.run().ended == 0
    assert runtime.registry.get(account.id).state is AccountState.READY


def test_a_silent_supplier_changes_nothing(runtime: Runtime, register: RightRegister) -> None:
    account = opened(runtime, register)
    register.silent = True
    with pytest.raises(SupplierUnavailable):
        runtime.right_sweep.run()
    assert runtime.registry.get(account.id).state is AccountState.READY


def test_the_operator_is_told_of_a_proof_once_and_again_near_its_end(runtime: Runtime, register: RightRegister) -> None:
    right = declared(runtime, declare(runtime, invitation=invite(runtime)))
    for proof, until, kinds in (
        (ProofState.AWAITED, date(2024, 8, 20), [NoticeKind.RIGHT_PROOF_AWAITED]),
        (ProofState.AWAITED, date(2024, 8, 20), []),
        (ProofState.AWAITED, date(2024, 7, 27), [NoticeKind.RIGHT_PROOF_AWAITED, NoticeKind.RIGHT_PROOF_ENDS]),
        (ProofState.REJECTED, date(2024, 7, 27), [NoticeKind.RIGHT_PROOF_REJECTED]),
    ):
        before = {notice.id for notice in all_notices(runtime)}
        register.change(PCE, proof=proof, proof_until=until)
        runtime.right_sweep.run(pending_only=True)
        new = [notice for notice in all_notices(runtime) if notice.id not in before]
        assert sorted(notice.kind for notice in new) == sorted(kinds)
        assert all(notice.account_id is None and notice.about == f"{right.id}@{until}" for notice in new)


# Leaving


def test_an_erasure_leaves_nothing_of_the_meter_but_the_keyed_hash(
    runtime: Runtime, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    account = opened(runtime, register)
    assert runtime.erase(account.id, "household")["rights"] == 1
    register.silent = True
    assert runtime.right_withdrawal.run() == 0
    register.silent = False
    assert runtime.right_withdrawal.run() == 1
    assert register.withdrawn == ["uuid-1"]
    assert runtime.registry.database.fetch(select(RIGHTS)) == []
    everything = all_rows(runtime.registry.database)
    unsealed = [row for table in everything.values() for row in table]
    assert not [row for row in unsealed if PCE in row or "uuid-1" in row]
    with runtime.registry.database.reading() as connection:
        assert runtime.erasures.find(connection, "grdf", PCE) is not None
    assert PCE not in caplog.text and runtime.right_sweep.run().opened == []


def test_an_erasure_withdraws_what_waits_for_the_same_meter(runtime: Runtime, register: RightRegister) -> None:
    account = runtime.registry.add("grdf", PCE, NOW, token_needed=False)[0]
    register.grant(PCE)
    runtime.erase(account.id)  # No sweep has found the right yet.
    assert runtime.right_withdrawal.run() == 1 and register.withdrawn == ["uuid-1"]


def test_an_erasure_during_a_sweep_leaves_nothing_either(runtime: Runtime, register: RightRegister) -> None:
    """The sweep has listed the account as one without a right, and the supplier's answer comes after the erasure."""
    account = runtime.registry.add("grdf", PCE, NOW, token_needed=False)[0]
    record = register.grant(PCE)
    runtime.erase(account.id)
    assert runtime.rights.adopt(account, record, NOW) is None
    assert runtime.right_withdrawal.run() == 1
    assert runtime.registry.database.fetch(select(RIGHTS)) == []


def test_a_fault_that_concerns_all_rights_is_met_once(
    runtime: Runtime, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    for meter in (PCE, OTHER):
        runtime.erase(opened(runtime, register, meter).id)
    register.fault = OperatorFault("the credentials are wrong")
    assert runtime.right_withdrawal.run() == 0
    assert caplog.text.count("right not withdrawn yet") == 1
    register.fault = None
    assert runtime.right_withdrawal.run() == 2


def test_an_erased_meter_opens_by_what_was_begun_since(runtime: Runtime, register: RightRegister) -> None:
    power = electricity(runtime)
    account = opened(runtime, register)
    early = runtime.connector.declarations.begin(
        "grdf", TYPED, browser=STRANGER, address="", session={power.id: 1}, invitation=None
    )
    runtime.erase(account.id)
    assert runtime.connector.conclude(early.id) is None  # The erasure has ended it.
    waits = declare(runtime, session={power.id: 1})
    assert (waits.state, waits.page) == (RequestState.ASKING, "unavailable")  # The old right is withdrawn first.
    runtime.right_withdrawal.run()
    declared(runtime, step(runtime, waits, hours=1))
    register.change(PCE, state=RightState.ACTIVE)
    assert len(runtime.right_sweep.run(pending_only=True).opened) == 1


def test_a_right_of_before_an_erasure_opens_nothing(runtime: Runtime, register: RightRegister) -> None:
    """Its row comes back with a backup, say."""
    right = declared(runtime, declare(runtime, invitation=invite(runtime)))
    with runtime.registry.database.writing() as connection:
        meter = runtime.erasures.digests("grdf", PCE)[0]
        runtime.erasures.remember(connection, meter, real_clock() + timedelta(seconds=1), date(2027, 1, 1))
    register.change(PCE, state=RightState.ACTIVE)
    assert runtime.right_sweep.run().opened == [] and gas_accounts(runtime) == []
    assert runtime.rights.of_request(right.id) is not None


def test_gas_is_left_without_losing_electricity(runtime: Runtime, register: RightRegister) -> None:
    power, account = electricity(runtime), opened(runtime, register)
    runtime.stop_consent(account.id)
    after = runtime.registry.get(account.id)
    assert (after.state, after.reason, after.usage_point_id) == (AccountState.ACTION_NEEDED, ConsentStopped.code, PCE)
    assert runtime.registry.get(power.id) == power
    assert runtime.right_withdrawal.run() == 1 and register.withdrawn == ["uuid-1"]
    register.change(PCE, state=RightState.ACTIVE)  # It says so by mistake: what was stopped stays so.
    assert runtime.right_sweep.run().opened == [] and runtime.right_sweep.run().ended == 0
    register.change(PCE, state=RightState.OBSOLETE)
    declared(runtime, declare(runtime, session={account.id: after.session_number}))
    register.change(PCE, state=RightState.ACTIVE)
    assert runtime.right_sweep.run(pending_only=True).opened == [account.id]
    assert runtime.registry.get(account.id).state is AccountState.READY


def test_a_withdrawal_is_given_up_after_a_week(
    runtime: Runtime, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    runtime.erase(opened(runtime, register).id)
    register.silent = True
    in_a_week = replace(runtime.right_withdrawal, now=lambda: real_clock() + timedelta(days=8))
    assert in_a_week.run() == 0
    assert "given up" in caplog.text and runtime.rights.list_to_withdraw() == []


def test_gas_that_is_taken_away_leaves_its_accounts_and_says_so_once(
    installation: Installation, runtime: Runtime, register: RightRegister, caplog: pytest.LogCaptureFixture
) -> None:
    """RELEVE_GRDF_CLIENT_ID is unset again while there are accounts, and rights that wait to be withdrawn."""
    account = opened(runtime, register)
    other = opened(runtime, register, OTHER)
    runtime.erase(other.id)
    with installation.open() as bare:
        assert bare.right_sweep.run().checked == 0
        assert bare.right_withdrawal.run() == 0
        assert caplog.text.count("RELEVE_GRDF_CLIENT_ID") == 1
        assert bare.due_windows.night(NOW).jobs == []
        with pytest.raises(OperatorFault, match="RELEVE_GRDF_CLIENT_ID"):
            bare.client_of(account)


def test_tokens_are_renewed_for_the_suppliers_whose_accounts_are_read(
    runtime: Runtime, register: RightRegister, monkeypatch: pytest.MonkeyPatch
) -> None:
    renewed: list[str] = []
    monkeypatch.setattr(tasks.upkeep, "get_runtime", lambda: runtime)
    monkeypatch.setattr(ApplicationTokens, "current", lambda tokens: renewed.append("one"))
    tasks.upkeep.renew_tokens()
    assert renewed == []
    opened(runtime, register)
    tasks.upkeep.renew_tokens()
    assert len(renewed) == 1
    electricity(runtime)
    tasks.upkeep.renew_tokens()
    assert len(renewed) == 3


def test_without_gas_nothing_is_asked_and_nothing_is_seen(installation: Installation, register: RightRegister) -> None:
    with installation.open() as runtime:
        assert not runtime.has_rights and "grdf" not in runtime.suppliers_consents
        assert runtime.right_sweep.run().checked == 0 and register.asked == []
    assert "pce" not in installation.releve("accounts", "add", "--help").out
    assert "pce" not in installation.releve("invite", "--help").out
    assert "rights" not in installation.releve("--help").out
    assert "No such command" in installation.run("rights").err
    assert "gas is not set up here" in installation.run("invite", "--pce", PCE).error_line
