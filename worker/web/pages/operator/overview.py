"""The operator's page: the state of the fleet in numbers, the open invitations, and the operator's own access.

It shows no measure, and no account id but those of open invitations; ``accounts`` has those that are searched for.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from worker.app import queue_lengths
from worker.domain.account import DEFAULT_TENANT
from worker.domain.schedule import night_start
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, PARIS, newest_wanted_day
from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.ops.capacity import capacity_of
from worker.ops.check_results import CheckResult, summarize
from worker.ops.liveness import judge_beat
from worker.ops.supplier_checks import judge_workers
from worker.quota.ledger import QuotaState
from worker.runtime.sync_parts import Runtime
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.registry.fleet_counts import Overview
from worker.stores.registry.outcomes import HourFreshness
from worker.web.context import RuntimeDep
from worker.web.pages.operator.checks import is_fresh, needs_code
from worker.web.pages.operator.sessions import OperatorSession, form_token, load_operator_session
from worker.web.pages.operator.sign_in import sign_in_page
from worker.web.render import render, render_message

log = logging.getLogger("releve.web")
router = APIRouter()
MOST_INVITATIONS: Final = 20


@dataclass(frozen=True, slots=True)
class SupplierQuota:
    """The quota and gate of one supplier."""

    supplier: str
    preset: str
    state: QuotaState
    gate_s: int


@router.get("/operator")
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
        "sessions": runtime.web_access.keys.list([session.operator.id]),
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
    newest = runtime.invitations.list(open_only=True, limit=MOST_INVITATIONS + 1)
    tenants = {tenant.id: tenant.title or tenant.id for tenant in runtime.tenants.list()}
    return {
        "tenants": tenants if len(tenants) > 1 else {},
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
