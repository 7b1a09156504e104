"""The operator's page of the audit trail."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode

from fastapi import APIRouter, Response

from worker.domain.audit_entry import DONE, ActorKind, AuditAction, AuditFilter, days_of
from worker.web.pages.operator_access import PATH, OperatorDep, parse_day, titles_of_tenants
from worker.web.rendering import render

router = APIRouter(prefix=PATH)
ENTRIES_A_PAGE: Final = 50
_FILTERS: Final = ("account", "actor", "action", "since", "until")


@router.get("/audit")
def show_audit(visit: OperatorDep) -> Response:
    """Show a page of the audit trail; an invalid filter is ignored, like an empty filter."""
    typed = {name: visit.query_text(name).strip() for name in _FILTERS}
    days = parse_day(typed["since"]), parse_day(typed["until"])
    action = typed["action"] if typed["action"] in set(AuditAction) else ""
    wanted = AuditFilter(typed["account"] or None, typed["actor"] or None, action or None, None, *days_of(*days))
    before = visit.query_text("before")
    # One entry more than shown reveals whether there are older entries.
    entries = visit.registry.audit.page(wanted, ENTRIES_A_PAGE + 1, before=before)
    shown, more = entries[:ENTRIES_A_PAGE], len(entries) > ENTRIES_A_PAGE
    kept = {name: text for name, text in typed.items() if text}
    return render(
        visit.request,
        "operator_audit.html",
        entries=shown,
        done=DONE,
        kinds=list(ActorKind),
        actions=list(AuditAction),
        typed={**typed, "since": days[0] or "", "until": days[1] or ""},
        tenants=titles_of_tenants(visit.registry),
        newest=f"{PATH}/audit?{urlencode(kept)}" if before else None,
        older=f"{PATH}/audit?{urlencode({**kept, 'before': shown[-1].id})}" if more else None,
    )
