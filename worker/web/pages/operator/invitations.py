"""Invitations on the operator's page: a form that makes one and shows its link once, and a button that revokes one."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.accounts.invitations import MeterHasAccount, MeterHasNoAccount
from worker.accounts.notice_services import is_mail_address
from worker.clients.suppliers import ENEDIS, GRDF
from worker.domain.access_right import is_gas_meter
from worker.domain.account import DEFAULT_TENANT
from worker.domain.invitation import Invitation
from worker.errors import MeterElsewhere, UnknownAccount, UnknownTenant
from worker.runtime.sync_parts import Runtime
from worker.stores.registry.api_tokens import require_tenant
from worker.stores.registry.invitations import UnknownInvitation
from worker.web.audit import note_refusal, note_subject
from worker.web.context import RuntimeDep
from worker.web.pages.operator.checks import check_fresh
from worker.web.pages.operator.overview import operator_page
from worker.web.pages.operator.sessions import PATH, load_form_session, may_change
from worker.web.render import refuse_form, render, render_message

router = APIRouter(prefix="/operator/invitations")
_BACK: Final = "/operator#invitations"
_METER: Final = re.compile(r"[0-9]{14}")  # Of electricity; one of gas may have the same form.


@router.post("")
def invite(
    request: Request,
    runtime: RuntimeDep,
    whom: Annotated[str, Form()] = "",
    new_holder: Annotated[str, Form()] = "",
    address: Annotated[str, Form()] = "",
    tenant: Annotated[str, Form()] = DEFAULT_TENANT,
    energy: Annotated[str, Form()] = ENEDIS.name,
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Make an invitation for the account or the meter ``whom``, and show its link: it can't be read again.

    ``energy``: the supplier of the meter. Password and code are asked for once an hour.
    """
    if (session := load_form_session(request, runtime, csrf)) is None:
        return refuse_form(request, PATH)
    whom, address, is_new = whom.replace(" ", "").strip(), address.strip(), bool(new_holder)
    energy = energy if energy in runtime.suppliers_consents else ENEDIS.name

    def show_again(fault: str, status: int, **facts: Any) -> Response:
        note_refusal(request, fault)
        form = {"whom": whom, "new_holder": is_new, "address": address, "tenant": tenant, "energy": energy, **facts}
        return operator_page(request, runtime, session, status, invite_fault=fault, **form)

    if address and not (runtime.inviter.sends_mail and is_mail_address(address)):
        return show_again("operator.invite.no_address", 422)
    if is_new and not _is_meter(whom, energy):
        return show_again("operator.invite.needs_meter", 422)
    if refusal := check_fresh(request, runtime, session, password, code):
        return refusal.mark(show_again(refusal.text, refusal.status, wait_s=refusal.wait_s))
    try:
        require_tenant(runtime.registry.database, tenant)
        by = session.operator.actor
        invitation, link = _create(runtime, whom, energy, by, new_holder=is_new, tenant=tenant)
    except UnknownAccount:
        return show_again("operator.invite.unknown", 404)
    except MeterHasAccount as error:
        return show_again("operator.invite.has_account", 409, invite_account=error.account_id)
    except MeterElsewhere as error:
        return show_again(
            "operator.invite.elsewhere", 409, invite_tenant=runtime.tenants.title_of(error.tenant) or error.tenant
        )
    except UnknownTenant:
        return show_again("operator.invite.no_tenant", 422)
    except MeterHasNoAccount:
        return show_again("operator.invite.no_account", 409)
    note_subject(request, invitation.id, account_id=invitation.account_id, tenant=invitation.tenant)
    fault = runtime.inviter.mail(invitation, link, address) if address else None
    values: dict[str, Any] = {"invitation": invitation, "link": link, "mailed": bool(address), "mail_fault": fault}
    return render(request, "operator_invitation.html", **values)


@router.post("/{invitation_id}/revoke")
def revoke(request: Request, invitation_id: str, runtime: RuntimeDep, csrf: Annotated[str, Form()] = "") -> Response:
    if not may_change(request, runtime, csrf):
        return refuse_form(request, PATH)
    try:
        revoked = runtime.invitations.revoke(invitation_id)
    except UnknownInvitation:
        return render_message(request, "failure.not_found", 404, (_BACK, "operator.invited.back"))
    note_subject(request, account_id=revoked.account_id, tenant=revoked.tenant)
    return RedirectResponse(_BACK, 303)


def _is_meter(whom: str, energy: str) -> bool:
    return is_gas_meter(whom.upper()) if energy == GRDF.name else _METER.fullmatch(whom) is not None


def _create(
    runtime: Runtime, whom: str, energy: str, by: str, *, new_holder: bool, tenant: str
) -> tuple[Invitation, str]:
    if _is_meter(whom, energy):
        return runtime.inviter.invite_meter(energy, whom.upper(), by, new_holder=new_holder, tenant=tenant)
    return runtime.inviter.invite_account(whom, by)
