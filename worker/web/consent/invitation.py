"""The page of an invitation: its secret comes in the fragment of the link, which no server and no log sees.

A small script puts it into the field; without scripts the person pastes it. Loading the page uses nothing up, because
mail programs load links too. The button binds the invitation to this browser and leads to the supplier's page.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.clients.suppliers import ENEDIS
from worker.domain.account import Account, AccountState
from worker.domain.invitation import Invitation, InvitationPurpose
from worker.runtime.sync_parts import Runtime
from worker.web.audit import note_subject
from worker.web.consent.browser_names import BrowserNames, read_browser_names, set_browser_names
from worker.web.consent.callback import consent_page, open_accounts
from worker.web.consent.routes import redirect_to_supplier
from worker.web.consent.starts import count_wrong_invitation
from worker.web.context import RIGHT_STATE, RuntimeDep, SessionDep, gas_suffix, is_own_form, show_accounts
from worker.web.render import refuse_form, render_with_form
from worker.web.security import policy_with_form_to
from worker.web.sessions import Session

router = APIRouter(include_in_schema=False)
_PRETENDER: Final = "simulator"


@router.get("/invitation")
def show_invitation(request: Request, runtime: RuntimeDep) -> Response:
    """Show the form. It says nothing of the invitation, which the server has not seen."""
    response = render_with_form(request, "invitation.html", several=gas_suffix(runtime))
    response.headers["Content-Security-Policy"] = policy_with_form_to(runtime.endpoints.authorize_url)
    return response


@router.post("/invitation")
def open_invitation(
    request: Request,
    runtime: RuntimeDep,
    session: SessionDep,
    invitation: Annotated[str, Form(max_length=2000)] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Bind the invitation to this browser, and go on: to the supplier's page, or to the history of a closed account."""
    if not is_own_form(runtime, request, csrf):
        return refuse_form(request, "/invitation")
    secret = invitation.strip().rpartition("#")[2]  # The whole link may be pasted.
    names = read_browser_names(runtime, request)
    renamed = names.with_new()
    opened = runtime.invitations.open(secret, renamed.newest, names.hashes)
    if opened is not None:
        return _go_on(request, runtime, session, opened, renamed)
    if again := _open_again(request, runtime, session, secret, names):
        return again
    wait_s = count_wrong_invitation(request, runtime)
    return consent_page(request, "too_many", wait_s) if wait_s else consent_page(request, "invitation_over")


@router.post("/invitation/pretend")
def invite_to_pretend_home(
    request: Request,
    runtime: RuntimeDep,
    session: SessionDep,
    usage_point_id: Annotated[str, Form(pattern=r"^([0-9]{14})?$")] = "",
) -> Response:
    """Invite this browser to a home of the simulator, where the settings allow it (RELEVE_PRETEND_HOMES)."""
    if not runtime.settings.pretend_homes:
        return consent_page(request, "unknown_supplier")
    renamed = read_browser_names(runtime, request).with_new()
    meter = usage_point_id or f"{10**13 + secrets.randbelow(9 * 10**13)}"
    account = runtime.registry.find(ENEDIS.name, meter)
    if account is None:
        invited = runtime.invitations.create(InvitationPurpose.METER, ENEDIS.name, _PRETENDER, usage_point_id=meter)
    else:
        # Pretend homes are everybody's.
        invited = runtime.invitations.create(InvitationPurpose.ACCOUNT, ENEDIS.name, _PRETENDER, account_id=account.id)
    opened = runtime.invitations.open(invited[1], renamed.newest)
    if opened is None:
        return consent_page(request, "invitation_over")
    return _go_on(request, runtime, session, opened, renamed)


def _go_on(
    request: Request, runtime: Runtime, session: Session, invitation: Invitation, renamed: BrowserNames
) -> Response:
    account = runtime.registry.account_of(invitation)
    note_subject(request, invitation.id, account_id=account.id if account else None, tenant=invitation.tenant)
    if invitation.account_id is not None and account is None:
        return consent_page(request, "invitation_over")
    if account is not None and account.state is AccountState.CLOSED:
        return _open_history(request, runtime, session, invitation, account)
    if invitation.supplier not in runtime.suppliers:
        return consent_page(request, "unknown_supplier")
    if runtime.suppliers[invitation.supplier].supplier.rights is not None:
        response = RedirectResponse(f"/invitation/{invitation.id}/right", 303)
        set_browser_names(runtime, response, renamed)
        return response
    meter = account.usage_point_id if account else invitation.usage_point_id
    return redirect_to_supplier(
        request, runtime, session, invitation.supplier, meter, invitation=invitation, renamed=renamed
    )


def _open_history(
    request: Request, runtime: Runtime, session: Session, invitation: Invitation, account: Account
) -> Response:
    """Open a closed account, which needs no new consent: nothing is read for it any more."""
    with runtime.registry.database.writing() as connection:
        used = runtime.invitations.use(connection, invitation.id)
    if not used:
        return consent_page(request, "invitation_over")
    response = RedirectResponse(f"/accounts/{account.id}", 303)
    note_subject(request, account_id=account.id)
    show_accounts(runtime, request, response, session, [account])
    return response


def _open_again(
    request: Request, runtime: Runtime, session: Session, secret: str, names: BrowserNames
) -> Response | None:
    """Return the account to the browser that has used this invitation for it, once, and None to others.

    A crash may have kept the session from a browser whose consent is recorded.
    """
    invitation, mine = runtime.invitations.find(secret), names.hashes
    if invitation is None or invitation.used_at is None or invitation.browser not in mine:
        return None
    account = runtime.registry.account_of(invitation)
    if account is None and invitation.usage_point_id is not None:
        account = runtime.registry.find(invitation.supplier, invitation.usage_point_id)
    if account is None and any(right.page for right in runtime.rights.of_browser(mine)):
        return RedirectResponse(RIGHT_STATE, 303)  # It was used for a right that waits for its holder.
    if account is None or runtime.consents.browser_of(account.id) not in mine:
        return None
    return open_accounts(request, runtime, session, [account], invitation.id)
