"""The consent on the gas supplier's own page: its id_token is a proof, and the right is found by the next sweep."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.declared_rights import BROWSER, GAS, OTHER, PCE, STRANGER
from tests.support.factories import NOW
from tests.support.installation import Installation
from tests.support.parts import Parts
from tests.support.right_register import RightRegister
from worker.clients.endpoints import Callback
from worker.clients.oauth import Grant
from worker.clients.supplier import ConsentCalls
from worker.clients.supplier_session import Token
from worker.domain.access_right import RightState
from worker.domain.account import AccountState
from worker.domain.clock import real_clock
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.domain.consents import ConsentKind, Proof


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> RightRegister:
    register = RightRegister()
    register.install(monkeypatch)
    return register


@pytest.fixture
def parts(installation: Installation, register: RightRegister) -> Iterator[Parts]:
    """A parts whose supplier answers the code ``PCE …`` with an id_token for these meters."""
    with installation.but(**GAS, public_url="https://releve.example").open() as parts:
        calls = ConsentCalls(
            page=lambda endpoints, client_id, state, duration, address: f"{client_id} {state} {address}",
            read_callback=lambda params: Callback("", code=dict(params)["code"]),
            meters_of_grant=lambda grant, client_id, now: tuple(grant.extras["meters"]),
            meter=re.compile(r"[0-9]{14}|GI[0-9]{6}"),
            sends_redirect=True,
        )

        def exchange(code: str) -> Grant:
            return Grant(Token("user-token", None, None), {"meters": code.split()}, "d" * 64)

        gas = replace(parts.consent.supplier_of("grdf"), calls=calls, exchange_code=exchange)
        suppliers = {**parts.consent.suppliers, "grdf": gas}
        outcomes = replace(parts.consent.connector.outcomes, suppliers=suppliers)
        connector = replace(parts.consent.connector, outcomes=outcomes)
        parts.consent = replace(parts.consent, suppliers=suppliers, connector=connector)
        yield parts


def come_back(parts: Parts, code: str | None, browser: str = BROWSER, **changes: Any) -> ConnectionRequest:
    """Take a callback as the page does, let the task do its step, and return what came of it."""
    request = ConnectionRequest(
        id=f"{browser[:1]}{datetime.now(UTC).timestamp()}",
        supplier="grdf",
        browser=browser,
        begun_on=NOW.date(),
        created_at=real_clock(),
        begun_at=real_clock(),
    )
    received = parts.consent.connector.receive(Callback("", code=code), replace(request, **changes))
    assert parts.consent.requests.create(received)
    after = parts.consent.connector.conclude(received.id)
    assert after is not None
    return after


def test_the_page_gets_the_address_of_its_own_callback(parts: Parts) -> None:
    gas = parts.consent.supplier_of("grdf")
    assert gas.consent_page("state") == "grdf-test state https://releve.example/callback/grdf"
    assert gas.is_meter(PCE) and gas.is_meter(OTHER) and not gas.is_meter("123")
    assert gas.read_callback({"code": "c"}).code == "c"
    assert not parts.consent.supplier_of("enedis").is_meter(OTHER)


def test_the_id_token_names_the_meters_and_its_token_is_kept_nowhere(parts: Parts, register: RightRegister) -> None:
    request = come_back(parts, f"{PCE} {OTHER}")
    assert request.state is RequestState.CONNECTED
    accounts = [parts.stores.registry.accounts.get(one.id) for one in request.accounts]
    assert [(one.supplier, one.usage_point_id, one.state) for one in accounts] == [
        ("grdf", PCE, AccountState.READY),
        ("grdf", OTHER, AccountState.READY),
    ]
    for account in accounts:
        (proof,) = parts.stores.registry.consents.list_proofs(account.id)
        assert (proof.kind, proof.proof) == (ConsentKind.ID_TOKEN, Proof.EXCHANGE)
        assert parts.stores.registry.tokens.load(account.id) is None
        assert parts.stores.registry.rights.of_account(account.id) == []
    for meter in (PCE, OTHER):
        register.grant(meter)
    assert parts.consent.right_sweep.run().checked == 2
    assert [len(parts.stores.registry.rights.of_account(account.id)) for account in accounts] == [1, 1]


def test_a_callback_without_a_code_is_none(parts: Parts) -> None:
    request = come_back_without_step(parts)
    assert (request.state, request.page) == (RequestState.REFUSED, "no_usage_point")


def come_back_without_step(parts: Parts) -> ConnectionRequest:
    request = ConnectionRequest(id="r", supplier="grdf", browser=BROWSER, begun_on=NOW.date(), created_at=real_clock())
    return parts.consent.connector.receive(Callback("", usage_points=(PCE,)), request)


def test_another_person_must_choose_first(parts: Parts, register: RightRegister) -> None:
    come_back(parts, PCE)
    assert come_back(parts, PCE, STRANGER).state is RequestState.CHOICE


def test_a_consent_anew_takes_the_right_that_it_brings(parts: Parts, register: RightRegister) -> None:
    """The right before has ended; the row of it must not set the account aside again."""
    account_id = come_back(parts, PCE).accounts[0].id
    register.grant(PCE)
    parts.consent.right_sweep.run()
    register.change(PCE, state=RightState.OBSOLETE)
    assert parts.consent.right_sweep.run().ended == 1
    register.grant(PCE)
    assert come_back(parts, PCE, session={account_id: 1}).accounts[0].id == account_id
    assert parts.consent.right_sweep.run().ended == 0
    assert parts.stores.registry.accounts.get(account_id).state is AccountState.READY
    assert [right.state for right in parts.stores.registry.rights.of_account(account_id)] == [RightState.ACTIVE]
