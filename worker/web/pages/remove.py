"""The page that removes an account: a form to confirm, then the erasure with its receipt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Form, Request, Response

from worker.domain.evidence import HOUSEHOLD
from worker.web.context import RuntimeDep, SessionDep, has_shares, is_session_form, needs_invitation, publish_revocation
from worker.web.pages.own_account import OwnAccount
from worker.web.render import refuse_form, render

router = APIRouter()
# The other counts of an erasure are of our own upkeep.
_RECEIPT_LINES: Final = ("documents", "usage_points", "tokens", "consent_proofs_kept")


@router.get("/accounts/{account_id}/remove")
def show_remove_form(request: Request, runtime: RuntimeDep, account: OwnAccount) -> Response:
    return render(request, "remove.html", account=account, is_home=runtime.settings.is_home)


@router.post("/accounts/{account_id}/remove")
def remove_account(
    request: Request,
    runtime: RuntimeDep,
    session: SessionDep,
    account: OwnAccount,
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Erase the account, only from our own form."""
    if not is_session_form(runtime, session, csrf):
        return refuse_form(request, f"/accounts/{account.id}/remove")
    erased = runtime.erase(account.id, HOUSEHOLD)
    publish_revocation(runtime)
    return render(
        request,
        "removed.html",
        account=account,
        account_id=account.id,
        is_home=runtime.settings.is_home,
        invited=needs_invitation(runtime, account.supplier),
        delete_share=has_shares(runtime, account.supplier),
        receipt=receipt_of(erased),
        moment=runtime.now(),
        access_notice=None,  # The household of the session may have ended with its account.
    )


def receipt_of(erased: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return what the receipt of an erasure tells, of all its counts."""
    return [(name, erased[name]) for name in _RECEIPT_LINES if name in erased]
