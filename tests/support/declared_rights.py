"""Access rights declared by households, with a supplier's register in memory."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.support.factories import NOW
from tests.support.parts import Parts
from tests.support.right_register import RightRegister
from worker.domain.access_right import HouseholdDeclaration, Right, RightState
from worker.domain.account import Account
from worker.domain.clock import real_clock
from worker.domain.connection_request import ConnectionRequest, RequestState
from worker.domain.invitation import Invitation
from worker.domain.notice import Notice
from worker.domain.windows import civil_date
from worker.runtime.consent_parts import build_inviter
from worker.stores.database import new_id
from worker.stores.registry.notices import NOTICE_QUERY

PCE, OTHER = "12345678901234", "GI123456"
SEVERAL = tuple(f"GI00000{number}" for number in range(4))
TYPED = HouseholdDeclaration(meter=PCE, postcode="69001", email="durand@example.org", name="Durand")
BROWSER, STRANGER = "b" * 64, "s" * 64
GAS = {"grdf_url": "http://127.0.0.1:9", "grdf_client_id": "grdf-test", "grdf_client_secret": "s3cret-of-grdf"}


def invite(parts: Parts, meter: str = PCE, browser: str = BROWSER, **options: Any) -> Invitation:
    """Return an invitation for a gas meter, or for an account, that the browser has opened."""
    if account := options.get("account_id"):
        created = build_inviter(parts.stores).invite_account(account, "cli:test")
    else:
        created = build_inviter(parts.stores).invite_meter("grdf", meter, "cli:test", **options)
    opened = parts.stores.registry.invitations.open(created[1].partition("#")[2], browser)
    assert opened is not None
    return opened


def declare(parts: Parts, typed: HouseholdDeclaration = TYPED, **options: Any) -> ConnectionRequest:
    """Declare a right as the page does, run one step of the worker's task, and return the request."""
    return step(parts, begin(parts, typed, **options))


def begin(
    parts: Parts, typed: HouseholdDeclaration = TYPED, invitation: Invitation | None = None, **options: Any
) -> ConnectionRequest:
    now = real_clock()
    usual: dict[str, Any] = {"browser": BROWSER, "address": "192.0.2.7", "begun_at": now, "created_at": now}
    if invitation is not None:
        usual |= {"invitation_id": invitation.id, "tenant": invitation.tenant}
    usual |= {"id": new_id(), "begun_on": civil_date(parts.stores.now()), "declaration": typed}
    return parts.consent.connector.declarations.begin(ConnectionRequest(supplier="grdf", **{**usual, **options}))


def step(parts: Parts, request: ConnectionRequest, hours: int = 0) -> ConnectionRequest:
    later = real_clock() + timedelta(hours=hours)
    after = replace(parts.consent.connector, real_now=lambda: later).conclude(request.id)
    assert after is not None
    return after


def accepted(parts: Parts, request: ConnectionRequest) -> ConnectionRequest:
    """Let the operator accept a waiting declaration, and run one step of the worker's task."""
    assert (request.state, request.page) == (RequestState.HELD, "right_held")
    after = parts.consent.connector.let_in(request.id, by="cli:operator")
    assert after is not None
    return step(parts, after)


def declared(parts: Parts, request: ConnectionRequest) -> Right:
    assert (request.state, request.page) == (RequestState.DECLARED, "")
    right = parts.stores.registry.rights.of_request(request.id)
    assert right is not None
    return right


def opened(parts: Parts, register: RightRegister, meter: str = PCE, browser: str = BROWSER) -> Account:
    """Return the account of a household that was invited, has declared a right and has consented at the supplier."""
    invitation = invite(parts, meter, browser)
    declared(parts, declare(parts, replace(TYPED, meter=meter), browser=browser, invitation=invitation))
    register.change(meter, state=RightState.ACTIVE)
    (account_id,) = parts.consent.right_sweep.run(pending_only=True).opened
    return parts.stores.registry.accounts.get(account_id)


def all_notices(parts: Parts) -> list[Notice]:
    rows = parts.stores.registry.database.fetch(NOTICE_QUERY)
    return [Notice(**row._asdict()) for row in rows]


def gas_accounts(parts: Parts) -> list[Account]:
    return [account for account in parts.stores.registry.accounts.list_accounts() if account.supplier == "grdf"]


def electricity(parts: Parts) -> Account:
    return parts.stores.registry.accounts.add("enedis", "30001640000011", NOW, token_needed=False)[0]
