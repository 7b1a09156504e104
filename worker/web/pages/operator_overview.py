"""The operator's first page: the fleet in numbers, the open invitations and the operator's own access.

It shows no account ids except those of the invitations, and no measure.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Response

from worker.app import queue_lengths
from worker.domain.schedule import night_start
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, PARIS, newest_wanted_day
from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.ops.capacity import capacity_of
from worker.ops.check_results import CheckResult, summarize
from worker.ops.liveness import judge_beat
from worker.ops.supplier_checks import judge_workers
from worker.runtime.consent_parts import Consent
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.registry.outcomes import HourFreshness
from worker.web.dependencies import VisitDep
from worker.web.pages.operator_access import (
    PATH,
    OperatorVisit,
    load_operator,
    sign_in_page,
)
from worker.web.rendering import render, render_message

log = logging.getLogger("releve.web")
router = APIRouter(prefix=PATH)
MOST_INVITATIONS: Final = 20


@router.get("")
def show_operator(visit: VisitDep) -> Response:
    if not visit.access.operators.has_any():
        return render_message(visit.request, "operator.closed", 404)
    operator = load_operator(visit)
    return operator_page(operator) if operator else sign_in_page(visit)


def operator_page(visit: OperatorVisit, status: int = 200, search_fault: str | None = None) -> Response:
    """Return the page of a signed-in operator. ``search_fault``: the text that says why a search is refused."""
    values = _page_values(visit.stores, visit.sync, visit.consent)
    return render(visit.request, "operator.html", status, search_fault=search_fault, **values, **visit.describe())


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
