"""The accounts that a household has joined: tabs on their pages, and the forms that join and part them.

A home has one account a supplier. Only accounts that this browser's session shows are ever named.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.domain.account import Account, AccountState
from worker.errors import UnknownAccount
from worker.runtime.sync_parts import Runtime
from worker.web.context import RuntimeDep, SessionDep, is_session_form
from worker.web.pages.own_account import OwnAccount
from worker.web.render import refuse_form
from worker.web.sessions import Session

router = APIRouter()


@dataclass(frozen=True, slots=True)
class Home:
    """``accounts``: those of a home that the session shows, in the order of suppliers; one where nothing is joined.

    ``joinable``: accounts of the session that may be joined to it.
    """

    accounts: list[Account]
    joinable: list[Account]

    @property
    def is_joined(self) -> bool:
        return len(self.accounts) > 1


def find_home(runtime: Runtime, session: Session, account: Account) -> Home:
    """Return the home of an account that the session shows. Raises StoreUnavailable."""
    own = session.own(runtime.registry.get_many(list(session.accounts)))
    existing = [other for other in own if other.state is not AccountState.DELETED]
    partners = _share_home(account, existing)
    suppliers = {account.supplier, *(partner.supplier for partner in partners)}
    joinable = [
        other
        for other in existing
        if other.supplier not in suppliers
        and other.state is not AccountState.CLOSED
        and not _share_home(other, existing)
    ]
    may_join = account.state is not AccountState.CLOSED
    return Home(sorted([account, *partners], key=lambda one: one.supplier), joinable if may_join else [])


def _share_home(account: Account, others: Iterable[Account]) -> list[Account]:
    """Return the others that are joined with an account."""
    return [other for other in others if account.home and other.home == account.home and other.id != account.id]


@router.post("/accounts/{account_id}/home")
def join_accounts(
    request: Request,
    runtime: RuntimeDep,
    session: SessionDep,
    account: OwnAccount,
    other: Annotated[str, Form(max_length=32)] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Join the account with another one of this browser, only from our own form."""
    page = f"/accounts/{account.id}"
    if not is_session_form(runtime, session, csrf):
        return refuse_form(request, page)
    home = find_home(runtime, session, account)
    if other not in {one.id for one in home.joinable}:
        raise UnknownAccount("no account that can be joined in this browser's session")
    runtime.homes.join([*(one.id for one in home.accounts), other])
    return RedirectResponse(page, 303)


@router.post("/accounts/{account_id}/home/part")
def part_accounts(
    request: Request, runtime: RuntimeDep, session: SessionDep, account: OwnAccount, csrf: Annotated[str, Form()] = ""
) -> Response:
    """Let the accounts of this home stand alone again, only from our own form; nothing else changes."""
    page = f"/accounts/{account.id}"
    if not is_session_form(runtime, session, csrf):
        return refuse_form(request, page)
    runtime.homes.part([one.id for one in find_home(runtime, session, account).accounts])
    return RedirectResponse(page, 303)
