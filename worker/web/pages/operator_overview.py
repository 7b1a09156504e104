"""The operator's pages: the fleet in numbers, the search and lists of accounts, and the audit trail.

The first page has the open invitations and the operator's own access too, and no account id but those of the
invitations. Accounts are searched for by meter or id, and listed where they have an error or a consent that ends. A
meter's number comes in a form alone, never in an address, and no page shows it again. No page here shows a measure.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Request, Response
from fastapi.responses import RedirectResponse

from worker.accounts.status import missing_days_of, status_of
from worker.app import queue_lengths
from worker.domain.access_right import is_gas_meter
from worker.domain.account import DEFAULT_TENANT, Account
from worker.domain.audit_entry import DONE, ActorKind, AuditAction, AuditFilter, days_of
from worker.domain.schedule import night_start
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, PARIS, newest_wanted_day
from worker.errors import StoreUnavailable, UnknownAccount
from worker.logs import fields
from worker.ops.capacity import capacity_of
from worker.ops.check_results import CheckResult, summarize
from worker.ops.liveness import judge_beat
from worker.ops.supplier_checks import judge_workers
from worker.quota.ledger import QuotaState
from worker.runtime.process import Runtime
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.registry.fleet_counts import Overview
from worker.stores.registry.outcomes import HourFreshness
from worker.web.dependencies import RuntimeDep
from worker.web.pages.operator_access import (
    PATH,
    FormSession,
    OperatorSession,
    form_token,
    is_fresh,
    load_operator_session,
    needs_code,
    sign_in_page,
)
from worker.web.rendering import render, render_message, words_of
from worker.web.request_audit import note_refusal, note_subject

log = logging.getLogger("releve.web")
router = APIRouter(prefix=PATH)
MOST_INVITATIONS: Final = 20
ACCOUNTS_A_PAGE: Final = 100
ENTRIES_A_PAGE: Final = 50
ENDING_WITHIN: Final = timedelta(days=30)
_MOST_DAYS: Final = 10
_LONGEST: Final = 100  # Of a text that is searched for.
_FILTERS: Final = ("account", "actor", "action", "since", "until")  # Of the audit trail.


@dataclass(frozen=True, slots=True)
class SupplierQuota:
    """The quota and gate of one supplier."""

    supplier: str
    preset: str
    state: QuotaState
    gate_s: int


@router.get("")
def show_operator(request: Request, runtime: RuntimeDep) -> Response:
    if not runtime.web_access.operators.has_any():
        return render_message(request, "operator.closed", 404)
    session = load_operator_session(request, runtime)
    return operator_page(request, runtime, session) if session else sign_in_page(request, runtime)


def operator_page(
    request: Request, runtime: Runtime, session: OperatorSession, status: int = 200, **form: Any
) -> Response:
    """Return the page of an operator who has signed in. ``form``: what a refused form shows again."""
    fields_of_forms: dict[str, Any] = {
        "whom": "",
        "new_holder": False,
        "address": "",
        "tenant": DEFAULT_TENANT,
        "energy": runtime.clients.supplier.name,
        **dict.fromkeys(("invite_fault", "access_fault", "erase_fault", "search_fault")),
        **dict.fromkeys(("invite_account", "invite_tenant", "erase_account"), ""),
        "wait_s": 0,
    }
    values = {**_page_values(runtime), **_invitations(runtime), **_own_access(request, runtime, session)}
    csrf = form_token(runtime, session)
    return render(request, "operator.html", status, operator_csrf=csrf, **values, **(fields_of_forms | form))


def _own_access(request: Request, runtime: Runtime, session: OperatorSession) -> dict[str, Any]:
    """Return the operator, its sessions, and what is asked for again."""
    return {
        "operator": session.operator,
        "session_id": session.key.id,
        "sessions": runtime.web_access.keys.list_keys([session.operator.id]),
        "asks_code": needs_code(request, runtime),
        "is_fresh": is_fresh(session),
    }


def _page_values(runtime: Runtime) -> dict[str, Any]:
    overview, now = Overview(runtime.registry.database), runtime.now()
    completeness, today = runtime.registry.completeness, runtime.history.today()
    has_begun = night_start(now, runtime.history.nightly_at).astimezone(PARIS).date() == today
    # Before the night's run nobody has yesterday, which would look as if all were lost.
    told_day = today if has_begun else today - ONE_DAY
    # Those that are asked for once a week are rarely of yesterday.
    nightly = [series for series in runtime.registry.outcomes.list_in_use() if series.is_nightly]
    days = {series: newest_wanted_day(told_day, series) for series in nightly}
    queues, quota = _queues(runtime), runtime.ledger.state(runtime.endpoints.preset.quota_names)
    return {
        "states": overview.count_accounts_by_state(),
        "freshness": {series: completeness.count_complete_since(series, days[series]) for series in nightly},
        "fresh_days": days,
        "fresh_hours": _fresh_hours(runtime, nightly),
        "yesterday": told_day - ONE_DAY,
        "fresh_from": None if has_begun else f"{runtime.history.nightly_at:%H:%M}",
        "tomorrow": capacity_of(runtime.registry.database, runtime.settings, today).describe(),
        "quota": quota,
        "gate_s": math.ceil(quota.opens_in_s),
        "further_quotas": _further_quotas(runtime),
        "held_requests": len(runtime.connection_requests.list_held()),
        "incidents": runtime.incidents.list_open(),
        "preset": runtime.endpoints.preset.name,
        "proofs": runtime.proof_uploads.list_awaited() if runtime.has_rights else [],
        "errors": overview.list_last_errors(),
        "queues": queues,
        "checks": _check_processes(runtime, queues),
        "now": now,
    }


def _check_processes(runtime: Runtime, queues: Mapping[str, int] | None) -> list[CheckResult]:
    """Return what `releve doctor` says of workers and beat."""
    heartbeats = Heartbeats(runtime.redis)
    now, (beat_at, tick_at) = heartbeats.now(), heartbeats.beat_and_tick()
    return [
        summarize("workers", judge_workers(heartbeats.workers(), queues or {}, now)),
        summarize("beat", judge_beat(beat_at, tick_at, now)),
    ]


def _further_quotas(runtime: Runtime) -> list[SupplierQuota]:
    """Return the quota of each supplier beside the first one, by day where it has a limit a day; none where none is."""
    quotas = []
    for name, clients in runtime.suppliers.items():
        if name == runtime.clients.supplier.name:
            continue
        preset = clients.endpoints.preset
        state = runtime.ledgers[name].state(preset.quota_names)
        quotas.append(SupplierQuota(name, preset.name, state, math.ceil(state.opens_in_s)))
    return quotas


def _invitations(runtime: Runtime) -> dict[str, Any]:
    """Return the newest open invitations, whether there are more, and the tenants' titles if there are several."""
    newest = runtime.invitations.list_invitations(open_only=True, limit=MOST_INVITATIONS + 1)
    return {
        "tenants": _titles_of_tenants(runtime),
        "energies": list(runtime.suppliers_consents) if len(runtime.suppliers_consents) > 1 else [],
        "invitations": newest[:MOST_INVITATIONS],
        "more_invitations": len(newest) > MOST_INVITATIONS,
        "sends_mail": runtime.inviter.sends_mail,
    }


def _fresh_hours(runtime: Runtime, nightly: Sequence[Series]) -> dict[datetime, dict[Series, HourFreshness | None]]:
    """Return how many active accounts had a complete yesterday, at each stored hour of the last day."""
    rows = runtime.registry.completeness.list_freshness_since(runtime.now() - timedelta(hours=24))
    hours: dict[datetime, dict[Series, HourFreshness | None]] = {}
    for row in rows:
        if row.series in nightly:
            hours.setdefault(row.hour, dict.fromkeys(nightly))[row.series] = row
    return hours


def _queues(runtime: Runtime) -> dict[str, int] | None:
    """Return the length of each queue, or None where the broker doesn't answer: the rest of the page is needed then."""
    try:
        return queue_lengths(runtime.broker_url)
    except StoreUnavailable as error:
        log.warning("queues can't be read", extra=fields(reason=str(error)))
        return None


@router.post("/search")
def search(
    request: Request, runtime: RuntimeDep, session: FormSession, wanted: Annotated[str, Form(max_length=_LONGEST)] = ""
) -> Response:
    """Lead to the account of a meter or id; where a number is that of two meters, to both."""
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
        account = runtime.registry.accounts.get_existing(account_id)
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
        return runtime.registry.accounts.find_by_meter(text.upper())
    try:
        return [runtime.registry.accounts.get_existing(text.lower())]
    except UnknownAccount:
        return []


def _name_tenant(runtime: Runtime, account: Account) -> str:
    """Return the title of the account's service; empty where there is only one."""
    tenants = _titles_of_tenants(runtime)
    return tenants.get(account.tenant, account.tenant) if tenants else ""


def _titles_of_tenants(runtime: Runtime) -> dict[str, str]:
    """Return the titles of the tenants by id; none where there is only one."""
    tenants = {tenant.id: tenant.title or tenant.id for tenant in runtime.tenants.list_tenants()}
    return tenants if len(tenants) > 1 else {}


@router.get("/audit")
def show_audit(request: Request, runtime: RuntimeDep) -> Response:
    """Show a page of the trail; a filter that can't be understood is left out, as an empty one is."""
    if load_operator_session(request, runtime) is None:
        return RedirectResponse(PATH, 303)
    typed = {name: request.query_params.get(name, "").strip()[:_LONGEST] for name in _FILTERS}
    days = _parse_day(typed["since"]), _parse_day(typed["until"])
    action = typed["action"] if typed["action"] in set(AuditAction) else ""
    wanted = AuditFilter(_to_text(typed["account"]), _to_text(typed["actor"]), action or None, None, *days_of(*days))
    before = request.query_params.get("before", "")[:_LONGEST].replace("\x00", "")
    # One entry more than shown tells whether there are older ones.
    entries = runtime.audit.page(wanted, ENTRIES_A_PAGE + 1, before=before)
    shown, more = entries[:ENTRIES_A_PAGE], len(entries) > ENTRIES_A_PAGE
    kept = {name: text for name, text in typed.items() if text}
    return render(
        request,
        "operator_audit.html",
        entries=shown,
        done=DONE,
        kinds=list(ActorKind),
        actions=list(AuditAction),
        typed={**typed, "since": days[0] or "", "until": days[1] or ""},
        tenants=_titles_of_tenants(runtime),
        newest=f"{PATH}/audit?{urlencode(kept)}" if before else None,
        older=f"{PATH}/audit?{urlencode({**kept, 'before': shown[-1].id})}" if more else None,
    )


def _to_text(typed: str) -> str | None:
    return typed.replace("\x00", "") or None


def _parse_day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
