"""Forms of the operator's page: erase an account, invite, upload a proof, and change the operator's own access.

To erase an account the operator gives password and code again. The link of an invitation is shown once. Proofs are
those of consents that the supplier awaits. Their upload is a route of its own, because its body is large: who sends it
is checked before it is read, and its size while it is. It goes to private temporary files, and from there, sealed, to
the worker that sends it on.
"""

from __future__ import annotations

import logging
import re
from pathlib import PurePath
from typing import Annotated, Any, Final

from fastapi import APIRouter, Depends, Form, Request, Response
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
from worker.domain.invitation import Invitation
from worker.domain.sessions import KeyKind, find_password_fault
from worker.errors import MeterElsewhere, StoreUnavailable, UnknownAccount, UnknownTenant
from worker.logs import fields
from worker.runtime.consent_parts import Consent, build_inviter, erase
from worker.runtime.stores import Stores
from worker.runtime.web_access import WebAccess
from worker.stores.redis.pending_consents import ProofFile
from worker.stores.registry import Registry
from worker.stores.registry.api_tokens import require_tenant
from worker.stores.registry.invitations import UnknownInvitation
from worker.web.dependencies import (
    AccessDep,
    ConsentDep,
    RegistryDep,
    StoresDep,
    SyncDep,
    publish_revocation,
)
from worker.web.file_uploads import LARGEST_UPLOAD, read_upload
from worker.web.pages.account_forms import receipt_of
from worker.web.pages.operator_access import (
    PATH,
    FormSession,
    check_again,
    check_fresh,
    load_form_session,
    load_operator_session,
    open_operator_session,
    require_form_session,
)
from worker.web.pages.operator_overview import operator_page
from worker.web.rendering import refuse_form, render, render_message
from worker.web.request_audit import note_refusal, note_subject

log = logging.getLogger("releve.web")
router = APIRouter(prefix=PATH)
_INVITATIONS: Final = f"{PATH}#invitations"  # Where a form leads back to.
_PROOFS: Final = f"{PATH}#proofs"
_OWN_ACCESS: Final = f"{PATH}#access"
_LONGEST_ID: Final = 32
_METER: Final = re.compile(r"[0-9]{14}")  # Of electricity; one of gas may have the same form.
_UNUSUAL: Final = re.compile(r"[^A-Za-z0-9._-]+")  # In the name of a file.
_MOST_FIELDS: Final = 2


@router.post("/erase")
def erase_account(
    request: Request,
    stores: StoresDep,
    sync: SyncDep,
    consent: ConsentDep,
    access: AccessDep,
    session: FormSession,
    account: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
) -> Response:
    """Erase an account and show the receipt."""
    account_id = account.strip()
    if not _exists(stores.registry, account_id):
        note_refusal(request, "operator.erase.unknown")
        return operator_page(
            request,
            stores,
            sync,
            consent,
            access,
            session,
            404,
            erase_fault="operator.erase.unknown",
            erase_account=account_id,
        )
    note_subject(request, account_id=account_id)
    if refusal := check_again(request, stores, access, session, password, code):
        shown = {"erase_fault": refusal.text, "wait_s": refusal.wait_s, "erase_account": account_id}
        return refusal.mark(operator_page(request, stores, sync, consent, access, session, refusal.status, **shown))
    erased = erase(stores, account_id, session.operator.actor)
    publish_revocation(stores, sync)
    receipt = receipt_of(erased)
    return render(request, "operator_erased.html", account_id=account_id, receipt=receipt, moment=stores.now())


def _exists(registry: Registry, account_id: str) -> bool:
    try:
        registry.accounts.get_existing(account_id[:_LONGEST_ID])
    except UnknownAccount:
        return False
    return True


@router.post("/invitations")
def invite(
    request: Request,
    stores: StoresDep,
    sync: SyncDep,
    consent: ConsentDep,
    access: AccessDep,
    session: FormSession,
    whom: Annotated[str, Form()] = "",
    new_holder: Annotated[str, Form()] = "",
    address: Annotated[str, Form()] = "",
    tenant: Annotated[str, Form()] = DEFAULT_TENANT,
    energy: Annotated[str, Form()] = ENEDIS.name,
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
) -> Response:
    """Make an invitation for the account or the meter ``whom``, and show its link: it can't be read again.

    ``energy``: the supplier of the meter. Password and code are asked for once an hour.
    """
    whom, address, is_new = whom.replace(" ", "").strip(), address.strip(), bool(new_holder)
    energy = energy if energy in consent.suppliers else ENEDIS.name

    def show_again(fault: str, status: int, **facts: Any) -> Response:
        note_refusal(request, fault)
        form = {"whom": whom, "new_holder": is_new, "address": address, "tenant": tenant, "energy": energy, **facts}
        return operator_page(request, stores, sync, consent, access, session, status, invite_fault=fault, **form)

    if address and not (build_inviter(stores).sends_mail and is_mail_address(address)):
        return show_again("operator.invite.no_address", 422)
    if is_new and not _is_meter(whom, energy):
        return show_again("operator.invite.needs_meter", 422)
    if refusal := check_fresh(request, stores, access, session, password, code):
        return refusal.mark(show_again(refusal.text, refusal.status, wait_s=refusal.wait_s))
    try:
        require_tenant(stores.registry.database, tenant)
        by = session.operator.actor
        invitation, link = _create_invitation(stores, whom, energy, by, new_holder=is_new, tenant=tenant)
    except UnknownAccount:
        return show_again("operator.invite.unknown", 404)
    except MeterHasAccount as error:
        return show_again("operator.invite.has_account", 409, invite_account=error.account_id)
    except MeterElsewhere as error:
        return show_again(
            "operator.invite.elsewhere",
            409,
            invite_tenant=stores.registry.tenants.title_of(error.tenant) or error.tenant,
        )
    except UnknownTenant:
        return show_again("operator.invite.no_tenant", 422)
    except MeterHasNoAccount:
        return show_again("operator.invite.no_account", 409)
    note_subject(request, invitation.id, account_id=invitation.account_id, tenant=invitation.tenant)
    fault = build_inviter(stores).mail(invitation, link, address) if address else None
    values: dict[str, Any] = {"invitation": invitation, "link": link, "mailed": bool(address), "mail_fault": fault}
    return render(request, "operator_invitation.html", **values)


@router.post("/invitations/{invitation_id}/revoke", dependencies=[Depends(require_form_session)])
def revoke(request: Request, invitation_id: str, registry: RegistryDep) -> Response:
    try:
        revoked = registry.invitations.revoke(invitation_id)
    except UnknownInvitation:
        return render_message(request, "failure.not_found", 404, (_INVITATIONS, "operator.invited.back"))
    note_subject(request, account_id=revoked.account_id, tenant=revoked.tenant)
    return RedirectResponse(_INVITATIONS, 303)


def _is_meter(whom: str, energy: str) -> bool:
    return is_gas_meter(whom.upper()) if energy == GRDF.name else _METER.fullmatch(whom) is not None


def _create_invitation(
    stores: Stores, whom: str, energy: str, by: str, *, new_holder: bool, tenant: str
) -> tuple[Invitation, str]:
    if _is_meter(whom, energy):
        return build_inviter(stores).invite_meter(energy, whom.upper(), by, new_holder=new_holder, tenant=tenant)
    return build_inviter(stores).invite_account(whom, by)


@router.post("/rights/{right_id}/proofs")
async def upload(
    request: Request, right_id: str, stores: StoresDep, consent: ConsentDep, access: AccessDep
) -> Response:
    """Take one to three files of a proof."""
    if await run_in_threadpool(load_operator_session, request, access) is None:
        return await run_in_threadpool(refuse_form, request, PATH)
    try:
        form = await read_upload(request, LARGEST_UPLOAD, most_files=MOST_PROOFS, most_fields=_MOST_FIELDS)
    except MultiPartException:
        return await run_in_threadpool(_refuse_proofs, request, "too_many")
    try:
        return await run_in_threadpool(_take_proofs, request, stores, consent, access, right_id, form)
    finally:
        await form.close()


def _take_proofs(
    request: Request, stores: Stores, consent: Consent, access: WebAccess, right_id: str, form: FormData
) -> Response:
    if load_form_session(request, access, str(form.get("csrf", ""))) is None:
        return refuse_form(request, PATH)
    if right_id not in {awaited.right_id for awaited in consent.proof_uploads.list_awaited()}:
        return _refuse_proofs(request, "not_awaited", 404)
    uploads = [part for part in form.getlist("proof") if isinstance(part, UploadFile) and part.filename]
    if not uploads:
        return _refuse_proofs(request, "none")
    if any(not 0 < (part.size or 0) <= LARGEST_PROOF for part in uploads):
        return _refuse_proofs(request, "size")
    files: list[ProofFile] = [(_plain_name(part.filename or ""), part.file.read()) for part in uploads]
    consent.proof_uploads.files.put(right_id, files)
    log.info("proof taken", extra=fields(right=right_id, files=len(files)))
    try:
        enqueue_proofs(broker_url=stores.broker_url)
    except StoreUnavailable as error:  # Beat's task sends it a little later.
        log.warning("proof not published", extra=fields(right=right_id, reason=str(error)))
    return RedirectResponse(_PROOFS, 303)


def _plain_name(name: str) -> str:
    """Return a file's name without folders and unusual characters: it goes to the supplier, and may name a person."""
    suffix = _UNUSUAL.sub("", PurePath(name).suffix)[:8]
    return f"proof{suffix}"


def _refuse_proofs(request: Request, fault: str, status: int = 422) -> Response:
    return render_message(request, f"operator.proofs.{fault}", status, (_PROOFS, "operator.proofs.back"))


@router.post("/password")
def change_password(
    request: Request,
    stores: StoresDep,
    sync: SyncDep,
    consent: ConsentDep,
    access: AccessDep,
    session: FormSession,
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
    new: Annotated[str, Form()] = "",
    again: Annotated[str, Form()] = "",
) -> Response:
    """Set a new password. All sessions end, copies of this one too; this browser gets a new one."""
    operator = session.operator
    if new != again:
        return operator_page(
            request, stores, sync, consent, access, session, 422, access_fault="operator.password.differ"
        )
    if fault := find_password_fault(new, operator.name):
        return operator_page(
            request, stores, sync, consent, access, session, 422, access_fault=f"operator.password.{fault}"
        )
    if refusal := check_again(request, stores, access, session, password, code):
        page = operator_page(
            request,
            stores,
            sync,
            consent,
            access,
            session,
            refusal.status,
            access_fault=refusal.text,
            wait_s=refusal.wait_s,
        )
        return refusal.mark(page)
    access.operators.set_password(operator.id, new)
    return open_operator_session(request, access, operator, to=_OWN_ACCESS)


@router.post("/sessions/end-others")
def end_other_sessions(access: AccessDep, session: FormSession) -> Response:
    """End the operator's sessions in all other browsers."""
    access.keys.end_of([session.operator.id], [KeyKind.OPERATOR_SESSION], but=session.key.id)
    return RedirectResponse(_OWN_ACCESS, 303)
