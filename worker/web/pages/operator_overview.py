"""The operator's pages: the fleet in numbers, the search and lists of accounts, and the audit trail.

The first page also has the open invitations and the operator's own access; it shows no account ids except those of the
invitations. Accounts are searched for by meter or id, and listed if they have an error or an ending consent. A meter's
number is sent only in a form, never in an address, and no page shows it again. No page here shows a measure.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Form, Response
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
from worker.runtime.consent_parts import Consent, build_inviter
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync, build_explainer
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.registry import Registry
from worker.stores.registry.outcomes import HourFreshness
from worker.web.dependencies import VisitDep
from worker.web.pages.operator_access import PATH, OperatorDep, OperatorForm, OperatorVisit, load_operator, sign_in_page
from worker.web.rendering import render, render_message, words_of
from worker.web.request_audit import note_refusal, note_subject

log = logging.getLogger("releve.web")
router = APIRouter(prefix=PATH)
MOST_INVITATIONS: Final = 20
ACCOUNTS_A_PAGE: Final = 100
ENTRIES_A_PAGE: Final = 50
ENDING_WITHIN: Final = timedelta(days=30)
_MOST_DAYS: Final = 10
_LONGEST: Final = 100  # The most characters of a searched text.
_FILTERS: Final = ("account", "actor", "action", "since", "until")


@router.get("")
def show_operator(visit: VisitDep) -> Response:
    if not visit.access.operators.has_any():
        return render_message(visit.request, "operator.closed", 404)
    operator = load_operator(visit)
    return operator_page(operator) if operator else sign_in_page(visit)


def operator_page(visit: OperatorVisit, status: int = 200, **form: Any) -> Response:
    """Return the page of a signed-in operator. ``form``: the values that a refused form shows again."""
    forms: dict[str, Any] = {
        "whom": "",
        "new_holder": False,
        "address": "",
        "tenant": DEFAULT_TENANT,
        "energy": visit.sync.suppliers.main.supplier.name,
        **dict.fromkeys(("invite_fault", "access_fault", "erase_fault", "search_fault")),
        **dict.fromkeys(("invite_account", "invite_tenant", "erase_account"), ""),
        "operator": visit.operator,
        "session_id": visit.key.id,
        "sessions": visit.access.keys.list_keys([visit.operator.id]),
    }
    values = _page_values(visit.stores, visit.sync, visit.consent) | _invitations(visit.stores, visit.consent)
    return render(visit.request, "operator.html", status, **values, **visit.describe(), **(forms | form))


def _page_values(stores: Stores, sync: Sync, consent: Consent) -> dict[str, Any]:
    overview, now = stores.registry.overview, stores.now()
    completeness, today = stores.registry.completeness, sync.history.today()
    has_begun = night_start(now, sync.history.nightly_at).astimezone(PARIS).date() == today
    # Before the night's run no account has yesterday's data, and all would seem to have failed. So the page still tells
    # of the day before yesterday.
    told_day = today if has_begun else today - ONE_DAY
    # Series requested once a week rarely have yesterday's data.
    nightly = [series for series in stores.registry.outcomes.list_in_use() if series.is_nightly]
    days = {series: newest_wanted_day(told_day, series) for series in nightly}
    queues, quota = _queues(stores), sync.ledger.state(sync.suppliers.main.endpoints.preset.quota_names)
    return {
        "states": overview.count_accounts_by_state(),
        "freshness": {series: completeness.count_complete_since(series, days[series]) for series in nightly},
        "fresh_days": days,
        "fresh_hours": _fresh_hours(stores, nightly),
        "yesterday": told_day - ONE_DAY,
        "fresh_from": None if has_begun else f"{sync.history.nightly_at:%H:%M}",
        "tomorrow": capacity_of(stores.registry, stores.settings, today).describe(),
        "quota": quota,
        "gate_s": math.ceil(quota.opens_in_s),
        "further_quotas": _further_quotas(sync),
        "held_requests": len(consent.requests.list_held()),
        "incidents": sync.incidents.list_open(),
        "preset": sync.suppliers.main.endpoints.preset.name,
        "proofs": consent.proof_uploads.list_awaited() if sync.suppliers.has_rights else [],
        "errors": overview.list_last_errors(),
        "queues": queues,
        "checks": _check_processes(stores, queues),
        "now": now,
    }


def _check_processes(stores: Stores, queues: Mapping[str, int] | None) -> list[CheckResult]:
    """Return what `releve doctor` reports on workers and beat."""
    heartbeats = Heartbeats(stores.redis)
    now, (beat_at, tick_at) = heartbeats.now(), heartbeats.beat_and_tick()
    return [
        summarize("workers", judge_workers(heartbeats.workers(), queues or {}, now)),
        summarize("beat", judge_beat(beat_at, tick_at, now)),
    ]


def _further_quotas(sync: Sync) -> list[dict[str, Any]]:
    """Return the quota and the gate of each supplier except the main one."""
    presets = {name: clients.endpoints.preset for name, clients in sync.suppliers.items()}
    del presets[sync.suppliers.main.supplier.name]
    states = {name: sync.ledgers[name].state(preset.quota_names) for name, preset in presets.items()}
    return [
        {"supplier": name, "preset": presets[name].name, "state": state, "gate_s": math.ceil(state.opens_in_s)}
        for name, state in states.items()
    ]


def _invitations(stores: Stores, consent: Consent) -> dict[str, Any]:
    """Return the page's values about invitations: the newest open ones, whether there are more, the form's choices."""
    newest = stores.registry.invitations.list_invitations(open_only=True, limit=MOST_INVITATIONS + 1)
    return {
        "tenants": _titles_of_tenants(stores.registry),
        "energies": list(consent.suppliers) if len(consent.suppliers) > 1 else [],
        "invitations": newest[:MOST_INVITATIONS],
        "more_invitations": len(newest) > MOST_INVITATIONS,
        "sends_mail": build_inviter(stores).sends_mail,
    }


def _fresh_hours(stores: Stores, nightly: Sequence[Series]) -> dict[datetime, dict[Series, HourFreshness | None]]:
    """Return, by hour of the last 24 and by series, how many active accounts had all readings of the day before."""
    rows = stores.registry.completeness.list_freshness_since(stores.now() - timedelta(hours=24))
    hours: dict[datetime, dict[Series, HourFreshness | None]] = {}
    for row in rows:
        if row.series in nightly:
            hours.setdefault(row.hour, dict.fromkeys(nightly))[row.series] = row
    return hours


def _queues(stores: Stores) -> dict[str, int] | None:
    """Return the length of each queue; None if the broker doesn't answer, so that the rest of the page can be shown."""
    try:
        return queue_lengths(stores.broker_url)
    except StoreUnavailable as error:
        log.warning("queues can't be read", extra=fields(reason=str(error)))
        return None


@router.post("/search", name=AuditAction.ACCOUNT_FIND)
def search(visit: OperatorForm, wanted: Annotated[str, Form(max_length=_LONGEST)] = "") -> Response:
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
    code, after = _query_text(visit, "code"), _query_text(visit, "after")
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


def _query_text(visit: OperatorVisit, name: str) -> str:
    return visit.request.query_params.get(name, "")[:_LONGEST].replace("\x00", "")


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


def _find(registry: Registry, text: str) -> Sequence[Account]:
    if is_gas_meter(text.upper()):
        return registry.accounts.find_by_meter(text.upper())
    return [account] if (account := find_account(registry, text.lower())) else []


def find_account(registry: Registry, account_id: str) -> Account | None:
    try:
        return registry.accounts.get_existing(account_id)
    except UnknownAccount:
        return None


def _name_tenant(registry: Registry, account: Account) -> str:
    """Return the title of the account's service; empty if there is only one service."""
    tenants = _titles_of_tenants(registry)
    return tenants.get(account.tenant, account.tenant) if tenants else ""


def _titles_of_tenants(registry: Registry) -> dict[str, str]:
    """Return the titles of the tenants by id; empty if there is only one tenant."""
    tenants = {tenant.id: tenant.title or tenant.id for tenant in registry.tenants.list_tenants()}
    return tenants if len(tenants) > 1 else {}


@router.get("/audit")
def show_audit(visit: OperatorDep) -> Response:
    """Show a page of the audit trail; an invalid filter is ignored, like an empty filter."""
    request = visit.request
    typed = {name: request.query_params.get(name, "").strip()[:_LONGEST] for name in _FILTERS}
    days = _parse_day(typed["since"]), _parse_day(typed["until"])
    action = typed["action"] if typed["action"] in set(AuditAction) else ""
    wanted = AuditFilter(_to_text(typed["account"]), _to_text(typed["actor"]), action or None, None, *days_of(*days))
    before = _query_text(visit, "before")
    # One entry more than shown reveals whether there are older entries.
    entries = visit.registry.audit.page(wanted, ENTRIES_A_PAGE + 1, before=before)
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
        tenants=_titles_of_tenants(visit.registry),
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
