"""The form by which an operator erases an account. Password and code are required each time."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Response

from worker.domain.audit_entry import AuditAction
from worker.runtime.consent_parts import erase
from worker.web.dependencies import publish_revocation
from worker.web.pages.account_forms import receipt_of
from worker.web.pages.operator_access import PATH, OperatorForm, check_again
from worker.web.pages.operator_account import find_account
from worker.web.pages.operator_own import own_page
from worker.web.rendering import render
from worker.web.request_audit import note_refusal, note_subject

router = APIRouter(prefix=PATH)
_LONGEST_ID: Final = 32


@router.post("/erase", name=AuditAction.ACCOUNT_ERASE)
def erase_account(
    visit: OperatorForm,
    account: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
) -> Response:
    request, account_id = visit.request, account.strip()

    def show_again(fault: str, status: int, wait_s: int = 0) -> Response:
        return own_page(visit, status, erase_fault=fault, wait_s=wait_s, erase_account=account_id)

    if find_account(visit.registry, account_id[:_LONGEST_ID]) is None:
        note_refusal(request, "operator.erase.unknown")
        return show_again("operator.erase.unknown", 404)
    note_subject(request, account_id=account_id)
    if refusal := check_again(visit, password, code):
        return show_again(refusal.text, refusal.status, refusal.wait_s)
    receipt = receipt_of(erase(visit.stores, account_id, visit.operator.actor))
    publish_revocation(visit.stores, visit.sync)
    now = visit.stores.now()
    return render(request, "operator_erased.html", account_id=account_id, receipt=receipt, moment=now)
