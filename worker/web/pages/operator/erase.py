"""The erasure of an account by an operator, who gives password and code again for it."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response

from worker.errors import UnknownAccount
from worker.runtime.sync_parts import Runtime
from worker.web.audit import note_refusal, note_subject
from worker.web.context import RuntimeDep, publish_revocation
from worker.web.pages.operator.checks import check_again
from worker.web.pages.operator.overview import operator_page
from worker.web.pages.operator.sessions import PATH, load_form_session
from worker.web.pages.remove import receipt_of
from worker.web.render import refuse_form, render

router = APIRouter(prefix=PATH)
_LONGEST_ID: Final = 32


@router.post("/erase")
def erase_account(
    request: Request,
    runtime: RuntimeDep,
    account: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    code: Annotated[str, Form()] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Erase an account and show the receipt."""
    if (session := load_form_session(request, runtime, csrf)) is None:
        return refuse_form(request, PATH)
    account_id = account.strip()
    if not _exists(runtime, account_id):
        note_refusal(request, "operator.erase.unknown")
        return operator_page(
            request, runtime, session, 404, erase_fault="operator.erase.unknown", erase_account=account_id
        )
    note_subject(request, account_id=account_id)
    if refusal := check_again(request, runtime, session, password, code):
        shown = {"erase_fault": refusal.text, "wait_s": refusal.wait_s, "erase_account": account_id}
        return refusal.mark(operator_page(request, runtime, session, refusal.status, **shown))
    erased = runtime.erase(account_id, session.operator.actor)
    publish_revocation(runtime)
    receipt = receipt_of(erased)
    return render(request, "operator_erased.html", account_id=account_id, receipt=receipt, moment=runtime.now())


def _exists(runtime: Runtime, account_id: str) -> bool:
    try:
        runtime.registry.get_existing(account_id[:_LONGEST_ID])
    except UnknownAccount:
        return False
    return True
