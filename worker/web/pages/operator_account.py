"""The operator's page of one account: its state, its missing days, and what an operator can do about them.

No page here shows a measure or a meter's number.
"""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Response

from worker.accounts.status import missing_days_of, status_of
from worker.domain.account import Account
from worker.domain.windows import ONE_DAY
from worker.errors import UnknownAccount
from worker.runtime.sync_parts import build_explainer
from worker.stores.registry import Registry
from worker.web.pages.operator_access import PATH, OperatorDep, titles_of_tenants
from worker.web.rendering import render, render_message, words_of

router = APIRouter(prefix=PATH)
_MOST_DAYS: Final = 10


@router.get("/accounts/{account_id}")
def show_account(visit: OperatorDep, account_id: str) -> Response:
    """Show the state, reason and missing days of an account, and a button that makes an invitation."""
    history, account = visit.sync.history, find_account(visit.registry, account_id)
    if account is None:
        return render_message(visit.request, "failure.not_found", 404, (PATH, "operator.invited.back"))
    standing, yesterday = status_of(account, history), history.today() - ONE_DAY
    sentences = build_explainer(visit.stores, visit.sync).explain(account, yesterday).sentences
    missing = missing_days_of(account.id, history)
    return render(
        visit.request,
        "operator_account.html",
        account=account,
        standing=standing,
        codes=list(dict.fromkeys(filter(None, (account.reason, *(one.error for one in standing.series.values()))))),
        yesterday=sentences[words_of(visit.request).language],
        missing={series: (days[:_MOST_DAYS], max(0, len(days) - _MOST_DAYS)) for series, days in missing.items()},
        tenant=_name_tenant(visit.registry, account),
        **visit.describe(),
    )


def find_account(registry: Registry, account_id: str) -> Account | None:
    try:
        return registry.accounts.get_existing(account_id)
    except UnknownAccount:
        return None


def _name_tenant(registry: Registry, account: Account) -> str:
    """Return the title of the account's service; empty if there is only one service."""
    tenants = titles_of_tenants(registry)
    return tenants.get(account.tenant, account.tenant) if tenants else ""
