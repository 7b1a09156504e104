"""API route of the audit trail: who did what to the accounts of a client's service."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import APIRouter, Query

from worker.domain.audit_entry import AuditAction, AuditFilter, days_of
from worker.web.api.auth import ReadAudit
from worker.web.api.schemas import AuditPage, AuditRow, error_responses
from worker.web.context import RuntimeDep

router = APIRouter(tags=["audit"])
MOST_ENTRIES: Final = 500


@router.get("/audit", summary="Read the audit trail", responses=error_responses(422))
def read_audit(
    runtime: RuntimeDep,
    caller: ReadAudit,
    account: Annotated[
        str | None, Query(pattern=r"^[a-z][a-z0-9]{0,31}$", description="Only entries about this account.")
    ] = None,
    actor: Annotated[
        str | None,
        Query(
            pattern=r"^[^\x00-\x1f]{1,100}$",
            description="Only entries by this session, token, operator or user, or this kind of actor.",
        ),
    ] = None,
    action: Annotated[AuditAction | None, Query(description="Only this.")] = None,
    since: Annotated[date | None, Query(description="Only entries from this day on (Europe/Paris).")] = None,
    until: Annotated[date | None, Query(description="Only entries up to the end of this day.")] = None,
    limit: Annotated[int, Query(ge=1, le=MOST_ENTRIES, description="Entries a page.")] = 100,
    before: Annotated[
        str, Query(max_length=32, pattern=r"^[a-z0-9]*$", description="The last id of the page before.")
    ] = "",
) -> AuditPage:
    """Who did what to the accounts, tokens and invitations of the client's service, the newest entry first.

    Pages, API and commands leave entries, refused tries too; what workers do by themselves does not. Entries are kept
    for 400 days, and nobody changes one.
    """
    wanted = AuditFilter(account, actor, action, None, *days_of(since, until))
    # One entry more than asked for tells whether there is a next page.
    entries = caller.page_audit(runtime, wanted, limit + 1, before)
    page = [AuditRow.from_entry(entry) for entry in entries[:limit]]
    facts = {"account": account, "actor": actor, "action": action, "since": since, "until": until, "limit": limit}
    query = urlencode({name: value for name, value in facts.items() if value is not None})
    more = len(entries) > limit
    return AuditPage(entries=page, next=f"/api/audit?{query}&before={page[-1].id}" if more else None)
