"""The first page: connect a meter, or go on to those connected in this browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Request, Response

from worker.domain.consent.accounts import Account, AccountState
from worker.domain.measures.windows import DAILY_HISTORY_DAYS
from worker.errors import UnknownAccount
from worker.runtime.process import SUPPLIER, Runtime
from worker.web.context import ContextDep, SessionDep
from worker.web.pages.account import digits_of
from worker.web.render import render, words_of

router = APIRouter()

SUPPLIERS: Final = (SUPPLIER,)
_MONTHS_OF_DAILY: Final = DAILY_HISTORY_DAYS * 12 // 365


@dataclass(frozen=True, slots=True)
class Card:
    """A connected meter on the first page."""

    id: str
    state: AccountState
    digits: str


@router.get("/")
def home(request: Request, house: ContextDep, session: SessionDep) -> Response:
    runtime = house.runtime
    settings, words = runtime.settings, words_of(request)
    return render(
        request,
        "home.html",
        suppliers=SUPPLIERS,
        cards=[Card(each.id, each.state, digits_of(each)) for each in _living(runtime, session.accounts)],
        duration=words.duration(settings.consent_duration or runtime.endpoints.preset.consent_duration),
        months=_MONTHS_OF_DAILY,
        curve_days=settings.history_load_days,
    )


def _living(runtime: Runtime, account_ids: tuple[str, ...]) -> list[Account]:
    found = []
    for account_id in account_ids:
        try:
            account = runtime.registry.get(account_id)
        except UnknownAccount:
            continue  # a cookie outlives a registry that was set up anew
        if account.state is not AccountState.DELETED:
            found.append(account)
    return found
