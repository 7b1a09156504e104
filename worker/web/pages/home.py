"""The first page: connect a meter, or open one that is connected in this browser."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from fastapi import APIRouter, Request, Response

from worker.domain.consent.accounts import Account, AccountState
from worker.domain.measures.readings import Series
from worker.domain.measures.windows import history_length
from worker.errors import UnknownAccount
from worker.runtime.process import Runtime
from worker.runtime.supplier import SUPPLIERS
from worker.web.context import ContextDep, SessionDep
from worker.web.pages.account import digits_of
from worker.web.render import render, words_of

router = APIRouter()


# Whether all is well, the household waits or it has to act, as on the account's own page.
_KINDS: Final = {
    AccountState.NEW: "act",
    AccountState.READY: "good",
    AccountState.PAUSED: "wait",
    AccountState.ACTION_NEEDED: "act",
}


@dataclass(frozen=True, slots=True)
class Card:
    """A connected meter on the first page."""

    id: str
    state: AccountState
    kind: str
    digits: str


@router.get("/")
def show_home(request: Request, context: ContextDep, session: SessionDep) -> Response:
    runtime = context.runtime
    settings, words = runtime.settings, words_of(request)
    return render(
        request,
        "home.html",
        suppliers=SUPPLIERS,
        cards=[
            Card(account.id, account.state, _KINDS[account.state], digits_of(account))
            for account in _existing_accounts(runtime, session.accounts)
        ],
        duration=words.duration(settings.consent_duration or runtime.endpoints.preset.consent_duration),
        months=history_length(Series.DAILY, settings.history_load_days) * 12 // 365,
        curve_days=settings.history_load_days,
    )


def _existing_accounts(runtime: Runtime, account_ids: tuple[str, ...]) -> list[Account]:
    accounts = []
    for account_id in account_ids:
        try:
            account = runtime.registry.get(account_id)
        except UnknownAccount:
            continue  # A cookie may be older than the registry.
        if account.state is not AccountState.DELETED:
            accounts.append(account)
    return accounts
