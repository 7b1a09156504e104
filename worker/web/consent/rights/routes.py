"""Routes of a right of access: the form, the supplier's own page instead of it, and what becomes of the declaration.

A form opens with an invitation of this browser, or from an account of its session; nobody else declares a meter. The
supplier is asked by a task, so the page of the state loads itself again, as other pages that wait do.
"""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.clients.suppliers import GRDF
from worker.domain.access_right import Right
from worker.domain.account import AccountState
from worker.domain.clock import real_clock
from worker.domain.connection_request import RequestState
from worker.domain.invitation import InvitationState
from worker.errors import UnknownAccount
from worker.runtime.sync_parts import Runtime
from worker.stores.redis.locks import Rate, RateLimiter
from worker.web.addresses import client_address
from worker.web.consent.browser_names import BrowserNames, read_browser_names, set_browser_names
from worker.web.consent.callback import answer_request, consent_page, open_accounts
from worker.web.consent.rights.form import (
    FormPlace,
    TypedRight,
    find_faults,
    offers_consent_page,
    read_typed,
    render_form,
)
from worker.web.consent.routes import redirect_to_supplier
from worker.web.context import RIGHT_STATE, RuntimeDep, SessionDep, is_own_form
from worker.web.pages.own_account import load_own_account
from worker.web.render import refuse_form, words_of
from worker.web.sessions import Session

router = APIRouter(include_in_schema=False)
AGAIN: Final = "/connect/right/again"
# Each declaration takes a call of the supplier's quota, which all households share.
DECLARATIONS: Final = Rate("right-declared", calls=20, window_s=3600)
_WAITS: Final = {"right_pending": 60, "right_proof": 60, "right_to_check": 300}  # Seconds until a page loads again.


def find_place(
    request: Request, runtime: RuntimeDep, session: SessionDep, invitation_id: str = "", account_id: str = ""
) -> FormPlace | None:
    """Return what is known at the address of a form; None where its invitation is not this browser's any more.

    Raises UnknownAccount for an account that the session does not show.
    """
    if GRDF.name not in runtime.suppliers:
        raise UnknownAccount("there is no gas here")
    if account_id:
        account = load_own_account(account_id, runtime, session)
        if account.state is AccountState.CLOSED:
            raise UnknownAccount("this account is closed")
        meter = account.usage_point_id if account.supplier == GRDF.name else None
        return FormPlace(path=f"/accounts/{account_id}/gas", tenant=account.tenant, meter=meter, account=account)
    invitation = runtime.invitations.get(invitation_id)
    if invitation is None or invitation.supplier != GRDF.name:
        return None
    is_mine = invitation.browser in read_browser_names(runtime, request).hashes
    if not is_mine or invitation.state_at(real_clock()) is not InvitationState.OPENED:
        return None
    meter = runtime.registry.meter_of(invitation)
    path = f"/invitation/{invitation_id}/right"
    return FormPlace(path=path, tenant=invitation.tenant, meter=meter, invitation=invitation)


PlaceDep = Annotated[FormPlace | None, Depends(find_place)]
TypedDep = Annotated[TypedRight, Depends(read_typed)]


@router.get("/invitation/{invitation_id}/right")
@router.get("/accounts/{account_id}/gas")
def show_form(request: Request, runtime: RuntimeDep, place: PlaceDep) -> Response:
    if place is None:
        return consent_page(request, "invitation_over")
    return render_form(request, runtime, place)


@router.post("/invitation/{invitation_id}/right")
@router.post("/accounts/{account_id}/gas")
def declare(
    request: Request,
    runtime: RuntimeDep,
    session: SessionDep,
    place: PlaceDep,
    typed: TypedDep,
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Take a declaration, which a task makes at the supplier; a form with faults comes back with them."""
    if place is None:
        return consent_page(request, "invitation_over")
    if not is_own_form(runtime, request, csrf):
        return refuse_form(request, place.path)
    declaration = typed.to_declaration(place.meter)
    if faults := find_faults(typed, declaration):
        return render_form(request, runtime, place, typed, faults)
    if wait_s := RateLimiter(runtime.redis).count_call(DECLARATIONS, client_address(request)):
        return consent_page(request, "too_many", wait_s)
    names = read_browser_names(runtime, request)
    renamed = names.with_new()
    runtime.connector.declarations.begin(
        GRDF.name,
        declaration,
        browser=renamed.newest,
        known_as=names.hashes,
        address=client_address(request),
        session=session.accounts,
        invitation=place.invitation,
        account_id=place.account.id if place.account else None,
    )
    response = RedirectResponse(RIGHT_STATE, 303)
    set_browser_names(runtime, response, renamed)
    return response


@router.post("/invitation/{invitation_id}/right/page")
@router.post("/accounts/{account_id}/gas/page")
def go_to_supplier(
    request: Request, runtime: RuntimeDep, session: SessionDep, place: PlaceDep, csrf: Annotated[str, Form()] = ""
) -> Response:
    """Lead to the supplier's own page (Client Connect), where it is offered."""
    if place is None:
        return consent_page(request, "invitation_over")
    if not is_own_form(runtime, request, csrf):
        return refuse_form(request, place.path)
    if not offers_consent_page(runtime):
        return consent_page(request, "no_consent_page")
    return redirect_to_supplier(
        request, runtime, session, GRDF.name, place.meter, invitation=place.invitation, tenant=place.tenant
    )


@router.get(RIGHT_STATE)
def show_state(request: Request, runtime: RuntimeDep, session: SessionDep) -> Response:
    """Show what has become of the browser's newest declaration; the page loads itself again until it is decided."""
    if GRDF.name not in runtime.suppliers:
        return consent_page(request, "no_right")
    names = read_browser_names(runtime, request)
    own = runtime.connection_requests.of_browser(names.hashes)
    right = None
    if own is not None and own.supplier == GRDF.name:
        if own.state is not RequestState.DECLARED:
            return answer_request(request, runtime, session, own)
        right = runtime.rights.of_request(own.id)
    right = right or next(iter(runtime.rights.of_browser(names.hashes)), None)
    return consent_page(request, "no_right") if right is None else _show_right(request, runtime, session, names, right)


@router.get(AGAIN)
def show_form_again(request: Request, runtime: RuntimeDep, session: SessionDep) -> Response:
    """Lead back to the form from which the browser's last declaration came."""
    own = runtime.connection_requests.of_browser(read_browser_names(runtime, request).hashes)
    if own is not None and own.supplier == GRDF.name and own.invitation_id is not None:
        return RedirectResponse(f"/invitation/{own.invitation_id}/right", 303)
    accounts = session.own(runtime.registry.get_many(list(session.accounts)))
    usable = [account for account in accounts if account.may_choose_series]
    return RedirectResponse(f"/accounts/{usable[0].id}/gas" if usable else "/invitation", 303)


def _show_right(request: Request, runtime: Runtime, session: Session, names: BrowserNames, right: Right) -> Response:
    if right.page:
        words = words_of(request)
        until = words.day(right.proof_until) if right.proof_until else "…"
        return consent_page(request, right.page, _WAITS.get(right.page, 0), digits=right.last_digits, until=until)
    account = runtime.registry.get_many([right.account_id or ""]).get(right.account_id or "")
    if account is None or account.state is AccountState.DELETED:
        return consent_page(request, "right_withdrawn", digits=right.last_digits)
    if not session.shows(account) and runtime.consents.browser_of(account.id) not in names.hashes:
        return consent_page(request, "right_elsewhere", digits=right.last_digits)
    return open_accounts(request, runtime, session, [account], right.browser or right.id)
