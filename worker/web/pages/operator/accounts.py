"""The search of an account by its meter or id, and lists of accounts with an error or a consent that ends.

A meter's number comes in a form alone, never in an address, and no page shows it again. No page here shows a measure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.accounts.status import missing_days_of, status_of
from worker.domain.access_right import is_gas_meter
from worker.domain.account import Account
from worker.domain.windows import ONE_DAY
from worker.errors import UnknownAccount
from worker.runtime.sync_parts import Runtime
from worker.stores.registry.fleet_counts import Overview
from worker.web.audit import note_refusal, note_subject
from worker.web.context import RuntimeDep
from worker.web.pages.operator.checks import is_fresh, needs_code
from worker.web.pages.operator.overview import operator_page
from worker.web.pages.operator.sessions import PATH, form_token, load_form_session, load_operator_session
from worker.web.render import refuse_form, render, render_message, words_of

router = APIRouter(prefix=PATH)
ACCOUNTS_A_PAGE: Final = 100
ENDING_WITHIN: Final = timedelta(days=30)
_MOST_DAYS: Final = 10
_LONGEST: Final = 100


@router.post("/search")
def search(
    request: Request,
    runtime: RuntimeDep,
    wanted: Annotated[str, Form(max_length=_LONGEST)] = "",
    csrf: Annotated[str, Form()] = "",
) -> Response:
    """Lead to the account of a meter or id; where a number is that of two meters, to both."""
    if (session := load_form_session(request, runtime, csrf)) is None:
        return refuse_form(request, PATH)
    accounts = _find(runtime, "".join(wanted.split()))
    if not accounts:
        note_refusal(request, "operator.search.unknown")
        return operator_page(request, runtime, session, 404, search_fault="operator.search.unknown")
    note_subject(request, account_id=accounts[0].id)
    if len(accounts) > 1:
        rows = [{"account": account.id, "supplier": account.supplier} for account in accounts]
        return render(request, "operator_accounts.html", title="operator.search.both", code="", rows=rows, older=None)
    return RedirectResponse(f"{PATH}/accounts/{accounts[0].id}#state", 303)


@router.get("/accounts")
def list_accounts(request: Request, runtime: RuntimeDep) -> Response:
    """List the accounts with an error code, or without one those whose consent ends within a month."""
    if load_operator_session(request, runtime) is None:
        return RedirectResponse(PATH, 303)
    code, after = (request.query_params.get(name, "")[:_LONGEST].replace("\x00", "") for name in ("code", "after"))
    overview, most = Overview(runtime.registry.database), ACCOUNTS_A_PAGE + 1
    rows: Sequence[Mapping[str, Any]]
    if code:
        failing = overview.page_failing(code, after, most)
        rows = [
            {"account": one.account_id, "series": one.series, "since": one.since, "last_at": one.last_at}
            for one in failing
        ]
    else:
        today = runtime.history.today()
        ending = overview.page_ending(today, today + ENDING_WITHIN, after, most)
        rows = [{"account": account_id, "until": until} for account_id, until in ending]
    shown, kept = rows[:ACCOUNTS_A_PAGE], {"code": code} if code else {}
    more = f"{PATH}/accounts?{urlencode({**kept, 'after': shown[-1]['account']})}" if len(rows) > len(shown) else None
    title = "operator.accounts.failing" if code else "operator.accounts.ending"
    return render(request, "operator_accounts.html", title=title, code=code, rows=shown, older=more)


@router.get("/accounts/{account_id}")
def show_account(request: Request, account_id: str, runtime: RuntimeDep) -> Response:
    """Show state, reason and missing days of an account, and a button that makes an invitation."""
    if (session := load_operator_session(request, runtime)) is None:
        return RedirectResponse(PATH, 303)
    try:
        account = runtime.registry.get_existing(account_id)
    except UnknownAccount:
        return render_message(request, "failure.not_found", 404, (PATH, "operator.invited.back"))
    standing, today = status_of(account, runtime.history), runtime.history.today()
    sentences = runtime.explainer.explain(account, today - ONE_DAY).sentences
    missing = missing_days_of(account.id, runtime.history)
    return render(
        request,
        "operator_account.html",
        account=account,
        standing=standing,
        codes=list(dict.fromkeys(filter(None, (account.reason, *(one.error for one in standing.series.values()))))),
        yesterday=sentences[words_of(request).language],
        missing={series: (days[:_MOST_DAYS], max(0, len(days) - _MOST_DAYS)) for series, days in missing.items()},
        tenant=_name_tenant(runtime, account),
        operator_csrf=form_token(runtime, session),
        is_fresh=is_fresh(session),
        asks_code=needs_code(request, runtime),
    )


def _find(runtime: Runtime, text: str) -> Sequence[Account]:
    if is_gas_meter(text.upper()):
        return runtime.registry.find_by_meter(text.upper())
    try:
        return [runtime.registry.get_existing(text.lower())]
    except UnknownAccount:
        return []


def _name_tenant(runtime: Runtime, account: Account) -> str:
    """Return the title of the account's service; empty where there is only one."""
    tenants = {tenant.id: tenant.title or tenant.id for tenant in runtime.tenants.list()}
    return tenants.get(account.tenant, account.tenant) if len(tenants) > 1 else ""
