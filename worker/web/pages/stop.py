"""The page on which a household stops its consent: a form to confirm; what is stored stays."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.web.context import RuntimeDep, SessionDep, is_session_form, publish_revocation
from worker.web.pages.own_account import OwnAccount
from worker.web.render import refuse_form, render

router = APIRouter()


@router.get("/accounts/{account_id}/stop")
def show_stop_form(request: Request, account: OwnAccount) -> Response:
    """Show the form; an account without a consent to stop is shown as it is."""
    if not account.may_be_stopped:
        return RedirectResponse(f"/accounts/{account.id}#connection", 303)
    return render(request, "stop.html", account=account)


@router.post("/accounts/{account_id}/stop")
def stop_account(
    request: Request,
    runtime: RuntimeDep,
    session: SessionDep,
    account: OwnAccount,
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Stop the consent, only from our own form."""
    if not is_session_form(runtime, session, csrf):
        return refuse_form(request, f"/accounts/{account.id}/stop")
    if account.may_be_stopped:
        runtime.stop_consent(account.id)
        publish_revocation(runtime)
    return RedirectResponse(f"/accounts/{account.id}#connection", 303)
