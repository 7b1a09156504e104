"""The audit trail on the operator's pages: a table with filters, the newest entry first."""

from __future__ import annotations

from datetime import date
from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from worker.domain.audit_entry import DONE, ActorKind, AuditAction, AuditFilter, days_of
from worker.web.context import RuntimeDep
from worker.web.pages.operator.sessions import PATH, is_logged_in
from worker.web.render import render

router = APIRouter(prefix="/operator/audit", include_in_schema=False)
ENTRIES_A_PAGE: Final = 50
_LONGEST: Final = 100
_FILTERS: Final = ("account", "actor", "action", "since", "until")


@router.get("")
def show_audit(request: Request, runtime: RuntimeDep) -> Response:
    """Show a page of the trail; a filter that can't be understood is left out, as an empty one is."""
    if not is_logged_in(request, runtime):
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
    tenants = {tenant.id: tenant.title or tenant.id for tenant in runtime.tenants.list()}
    return render(
        request,
        "operator_audit.html",
        entries=shown,
        done=DONE,
        kinds=list(ActorKind),
        actions=list(AuditAction),
        typed={**typed, "since": days[0] or "", "until": days[1] or ""},
        tenants=tenants if len(tenants) > 1 else {},
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
