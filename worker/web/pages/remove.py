"""The end of an account: asked once more, then erased, with a receipt."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response

from worker.web.context import ContextDep, SessionDep
from worker.web.pages.account import OwnAccount, digits_of
from worker.web.render import render

router = APIRouter()

_TOLD: Final = ("documents", "usage_points", "tokens", "consent_proofs_kept")  # the rest is of no use to a household


@router.get("/accounts/{account_id}/remove")
def ask(request: Request, account: OwnAccount) -> Response:
    return render(request, "remove.html", account=account, digits=digits_of(account))


@router.post("/accounts/{account_id}/remove")
def remove(
    request: Request,
    house: ContextDep,
    session: SessionDep,
    account: OwnAccount,
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Only from our own form: another site's can't know its hidden field."""
    if not house.signer.csrf_holds(session.sid, csrf):
        back = (f"/accounts/{account.id}/remove", "message.again")
        return render(request, "message.html", 403, title="csrf.title", text="csrf.text", action=back)
    erased = house.runtime.remove(account.id)
    receipt = [(name, erased[name]) for name in _TOLD if name in erased]
    response = render(
        request, "removed.html", account=account, receipt=receipt, moment=house.runtime.now(), digits=digits_of(account)
    )
    house.remember(response, session.without(account.id))
    return response
