"""The operator's lists of accounts, and the search for an account by meter or id.

A meter's number is sent only in a form, never in an address, and no page shows it again. No page shows a measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Response
from fastapi.responses import RedirectResponse

from worker.domain.access_right import is_gas_meter
from worker.domain.account import Account
from worker.domain.audit_entry import AuditAction
from worker.stores.registry import Registry
from worker.web.pages.operator_access import LONGEST_TEXT, PATH, OperatorDep, OperatorForm
from worker.web.pages.operator_account import find_account
from worker.web.pages.operator_overview import operator_page
from worker.web.rendering import render
from worker.web.request_audit import note_refusal, note_subject

router = APIRouter(prefix=PATH)
ACCOUNTS_A_PAGE: Final = 100
ENDING_WITHIN: Final = timedelta(days=30)


@router.post("/search", name=AuditAction.ACCOUNT_FIND)
def search(visit: OperatorForm, wanted: Annotated[str, Form(max_length=LONGEST_TEXT)] = "") -> Response:
    """Redirect to the account of a meter or id; list both accounts if two meters have the same number."""
    accounts = _find(visit.registry, "".join(wanted.split()))
    if not accounts:
        note_refusal(visit.request, "operator.search.unknown")
        return operator_page(visit, 404, search_fault="operator.search.unknown")
    note_subject(visit.request, account_id=accounts[0].id)
    if len(accounts) > 1:
        rows = [{"account": account.id, "supplier": account.supplier} for account in accounts]
        values: dict[str, Any] = {"title": "operator.search.both", "code": "", "rows": rows, "older": None}
        return render(visit.request, "operator_accounts.html", **values)
    return RedirectResponse(f"{PATH}/accounts/{accounts[0].id}#state", 303)


@router.get("/accounts")
def list_accounts(visit: OperatorDep) -> Response:
    """List the accounts with an error code; without a code, list the accounts whose consent ends within a month."""
    code, after = visit.query_text("code"), visit.query_text("after")
    overview, most = visit.registry.overview, ACCOUNTS_A_PAGE + 1
    rows: Sequence[Mapping[str, Any]]
    if code:
        failing = overview.page_failing(code, after, most)
        rows = [
            {"account": one.account_id, "series": one.series, "since": one.since, "last_at": one.last_at}
            for one in failing
        ]
    else:
        today = visit.sync.history.today()
        ending = overview.page_ending(today, today + ENDING_WITHIN, after, most)
        rows = [{"account": account_id, "until": until} for account_id, until in ending]
    shown, kept = rows[:ACCOUNTS_A_PAGE], {"code": code} if code else {}
    more = f"{PATH}/accounts?{urlencode({**kept, 'after': shown[-1]['account']})}" if len(rows) > len(shown) else None
    title = "operator.accounts.failing" if code else "operator.accounts.ending"
    return render(visit.request, "operator_accounts.html", title=title, code=code, rows=shown, older=more)


def _find(registry: Registry, text: str) -> Sequence[Account]:
    if is_gas_meter(text.upper()):
        return registry.accounts.find_by_meter(text.upper())
    return [account] if (account := find_account(registry, text.lower())) else []
