"""Invitations on the operator's pages, and the proofs of consent that a supplier awaits.

The link of an invitation is shown once. The upload of proofs has its own route, because the body is large. The sender
is checked before the body is read, and the size while it is read. The files are kept in private temporary files, then
encrypted and passed to the worker that sends them to the supplier.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException

from worker.accounts.invitations import MeterHasAccount, MeterHasNoAccount
from worker.accounts.notice_services import is_mail_address
from worker.app import enqueue_proofs
from worker.clients.enedis import ENEDIS
from worker.clients.grdf import GRDF
from worker.clients.grdf.consent import LARGEST_PROOF, MOST_PROOFS
from worker.domain.access_right import is_gas_meter
from worker.domain.account import DEFAULT_TENANT
from worker.domain.audit_entry import AuditAction
from worker.errors import MeterElsewhere, StoreUnavailable, UnknownAccount, UnknownTenant
from worker.logs import fields
from worker.runtime.consent_parts import build_inviter
from worker.stores.redis.pending_consents import ProofFile
from worker.stores.registry.api_tokens import require_tenant
from worker.stores.registry.invitations import UnknownInvitation
from worker.web.dependencies import FormRefused, Visit, VisitDep
from worker.web.file_uploads import LARGEST_UPLOAD, read_upload
from worker.web.pages.operator_access import (
    PATH,
    OperatorDep,
    OperatorForm,
    OperatorVisit,
    check_admin,
    check_fresh,
    load_operator,
    require_form,
    titles_of_tenants,
)
from worker.web.rendering import render, render_message
from worker.web.request_audit import note_refusal, note_subject

log = logging.getLogger("releve.web")
router = APIRouter(prefix=PATH)
MOST_INVITATIONS: Final = 20
_INVITATIONS: Final = f"{PATH}/invitations"
_PROOFS: Final = f"{_INVITATIONS}#proofs"
_METER: Final = re.compile(r"[0-9]{14}")  # Only for electricity: a gas meter's number may match too.
_UNUSUAL: Final = re.compile(r"[^A-Za-z0-9._-]+")  # Characters that don't belong in a file's name.
_MOST_FIELDS: Final = 2
_FAULTS: Final[Mapping[type[Exception], tuple[str, int]]] = {
    UnknownAccount: ("operator.invite.unknown", 404),
    UnknownTenant: ("operator.invite.no_tenant", 422),
    MeterHasNoAccount: ("operator.invite.no_account", 409),
}


@router.get("/invitations")
def show_invitations(visit: OperatorDep) -> Response:
    return invitations_page(visit)


def invitations_page(visit: OperatorVisit, status: int = 200, **form: Any) -> Response:
    """Return the page: the newest open invitations, the form and the awaited proofs.

    ``form``: the values that a refused form shows again.
    """
    consent, registry = visit.consent, visit.registry
    newest = registry.invitations.list_invitations(open_only=True, limit=MOST_INVITATIONS + 1)
    values: dict[str, Any] = {
        "whom": "",
        "new_holder": False,
        "address": "",
        "tenant": DEFAULT_TENANT,
        "energy": visit.sync.suppliers.main.supplier.name,
        "invite_fault": None,
        "invite_account": "",
        "invite_tenant": "",
        "tenants": titles_of_tenants(registry),
        "energies": list(consent.suppliers) if len(consent.suppliers) > 1 else [],
        "invitations": newest[:MOST_INVITATIONS],
        "more_invitations": len(newest) > MOST_INVITATIONS,
        "sends_mail": build_inviter(visit.stores).sends_mail,
        "proofs": consent.proof_uploads.list_awaited() if visit.sync.suppliers.has_rights else [],
    }
    return render(visit.request, "operator_invitations.html", status, **visit.describe(), **(values | form))


@router.post("/invitations", name=AuditAction.INVITATION_CREATE)
def invite(
    visit: OperatorForm,
    whom: Annotated[str, Form()] = "",
    new_holder: Annotated[str, Form()] = "",
    address: Annotated[str, Form()] = "",
    tenant: Annotated[str, Form()] = DEFAULT_TENANT,
    energy: Annotated[str, Form()] = ENEDIS.name,
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
) -> Response:
    """Make an invitation for the account or the meter ``whom``, and show its link, which can't be read again.

    ``energy``: the supplier of the meter. Password and code are required once an hour.
    """
    whom, address, is_new = whom.replace(" ", "").strip(), address.strip(), bool(new_holder)
    energy = energy if energy in visit.consent.suppliers else ENEDIS.name
    inviter, by, is_meter = build_inviter(visit.stores), visit.operator.actor, _is_meter(whom, energy)

    def show_again(fault: str, status: int, **facts: Any) -> Response:
        note_refusal(visit.request, fault)
        form = {"whom": whom, "new_holder": is_new, "address": address, "tenant": tenant, "energy": energy, **facts}
        return invitations_page(visit, status, invite_fault=fault, **form)

    if address and not (inviter.sends_mail and is_mail_address(address)):
        return show_again("operator.invite.no_address", 422)
    if is_new and not is_meter:
        return show_again("operator.invite.needs_meter", 422)
    if refusal := check_fresh(visit, password, code):
        return show_again(refusal.text, refusal.status, wait_s=refusal.wait_s)
    try:
        require_tenant(visit.registry.database, tenant)
        if is_meter:
            invitation, link = inviter.invite_meter(energy, whom.upper(), by, new_holder=is_new, tenant=tenant)
        else:
            invitation, link = inviter.invite_account(whom, by)
    except MeterHasAccount as error:
        return show_again("operator.invite.has_account", 409, invite_account=error.account_id)
    except MeterElsewhere as error:
        title = visit.registry.tenants.title_of(error.tenant) or error.tenant
        return show_again("operator.invite.elsewhere", 409, invite_tenant=title)
    except (UnknownAccount, UnknownTenant, MeterHasNoAccount) as error:
        return show_again(*_FAULTS[type(error)])
    note_subject(visit.request, invitation.id, account_id=invitation.account_id, tenant=invitation.tenant)
    fault = inviter.mail(invitation, link, address) if address else None
    values: dict[str, Any] = {"invitation": invitation, "link": link, "mailed": bool(address), "mail_fault": fault}
    return render(visit.request, "operator_invitation.html", **values)


@router.post("/invitations/{invitation_id}/revoke", name=AuditAction.INVITATION_REVOKE)
def revoke(visit: OperatorForm, invitation_id: str) -> Response:
    try:
        revoked = visit.registry.invitations.revoke(invitation_id)
    except UnknownInvitation:
        return render_message(visit.request, "failure.not_found", 404, (_INVITATIONS, "operator.invited.back"))
    note_subject(visit.request, account_id=revoked.account_id, tenant=revoked.tenant)
    return RedirectResponse(_INVITATIONS, 303)


def _is_meter(whom: str, energy: str) -> bool:
    return is_gas_meter(whom.upper()) if energy == GRDF.name else _METER.fullmatch(whom) is not None


def require_uploader(visit: VisitDep) -> None:
    """Check that an administrator sends the body, before the body is read. Raises FormRefused for a stranger."""
    operator = load_operator(visit)
    if operator is None:
        raise FormRefused(PATH)
    check_admin(operator)


@router.post("/rights/{right_id}/proofs", name=AuditAction.RIGHT_PROOF, dependencies=[Depends(require_uploader)])
async def upload(right_id: str, visit: VisitDep) -> Response:
    """Accept one to three files that prove the consent to an access right."""
    try:
        form = await read_upload(visit.request, LARGEST_UPLOAD, most_files=MOST_PROOFS, most_fields=_MOST_FIELDS)
    except MultiPartException:
        return await run_in_threadpool(_refuse_proofs, visit, "too_many")
    try:
        return await run_in_threadpool(_take_proofs, visit, right_id, form)
    finally:
        await form.close()


def _take_proofs(visit: Visit, right_id: str, form: FormData) -> Response:
    require_form(visit, str(form.get("csrf", "")))
    proof_uploads = visit.consent.proof_uploads
    if right_id not in {awaited.right_id for awaited in proof_uploads.list_awaited()}:
        return _refuse_proofs(visit, "not_awaited", 404)
    uploads = [part for part in form.getlist("proof") if isinstance(part, UploadFile) and part.filename]
    if not uploads:
        return _refuse_proofs(visit, "none")
    if any(not 0 < (part.size or 0) <= LARGEST_PROOF for part in uploads):
        return _refuse_proofs(visit, "size")
    files: list[ProofFile] = [(_plain_name(part.filename or ""), part.file.read()) for part in uploads]
    proof_uploads.files.put(right_id, files)
    log.info("proof taken", extra=fields(right=right_id, files=len(files)))
    try:
        enqueue_proofs(broker_url=visit.stores.broker_url)
    except StoreUnavailable as error:  # A task of beat sends the proof later.
        log.warning("proof not published", extra=fields(right=right_id, reason=str(error)))
    return RedirectResponse(_PROOFS, 303)


def _plain_name(name: str) -> str:
    """Return a generic name with the file's suffix: the supplier gets the name, and the original may name a person."""
    suffix = _UNUSUAL.sub("", PurePath(name).suffix)[:8]
    return f"proof{suffix}"


def _refuse_proofs(visit: Visit, fault: str, status: int = 422) -> Response:
    return render_message(visit.request, f"operator.proofs.{fault}", status, (_PROOFS, "operator.proofs.back"))
