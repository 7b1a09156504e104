"""The operator's first page: what needs somebody now, and the fleet in numbers; no account ids, and no measures."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from fastapi import APIRouter, Response

from worker.domain.series import Series
from worker.domain.windows import ONE_DAY
from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync
from worker.stores.registry.outcomes import HourFreshness
from worker.web.dependencies import VisitDep
from worker.web.pages.operator_access import PATH, OperatorVisit, load_operator, sign_in_page
from worker.web.pages.operator_needs import find_processes, judge_nights, list_needs
from worker.web.rendering import render, render_message

log = logging.getLogger("releve.web")
router = APIRouter(prefix=PATH)
LONG_S: Final = 0.2
KEPT_S: Final = 60.0
_COUNTING: Final = threading.Lock()


@router.get("")
def show_operator(visit: VisitDep) -> Response:
    if not visit.access.operators.has_any():
        return render_message(visit.request, "operator.closed", 404)
    operator = load_operator(visit)
    return operator_page(operator) if operator else sign_in_page(visit)


def operator_page(visit: OperatorVisit) -> Response:
    """Return the page of a signed-in operator."""
    stores, sync, counts = visit.stores, visit.sync, _load_counts(visit)
    try:
        processes, quotas = find_processes(stores), _read_quotas(sync)
    except StoreUnavailable as error:  # The registry has answered already, so Redis doesn't answer.
        log.warning("the operator's page can't read Redis", extra=fields(reason=str(error)))
        processes, quotas = None, []
    return render(
        visit.request,
        "operator.html",
        needs=list_needs(visit, processes, counts["nights"]),
        checks=processes.summarize() if processes else [],
        queues=processes.queues if processes else None,
        tomorrow=counts["nights"][sync.suppliers.main.supplier.name],
        preset=sync.suppliers.main.endpoints.preset.name,
        quotas=quotas,
        **counts,
        **visit.describe(),
    )


def _load_counts(visit: OperatorVisit) -> dict[str, Any]:
    """Return the counts of the registry, with the time ``now`` at which they were made.

    In a large fleet the counts take a second. Those that took longer than ``LONG_S`` are kept for a minute.
    """
    state = visit.request.app.state
    with _COUNTING:
        kept_until, counts = getattr(state, "operator_counts", (0.0, {}))
        if (began := time.monotonic()) >= kept_until:
            nights = {"nights": judge_nights(visit), "now": visit.stores.now()}
            counts = _count_fleet(visit.stores, visit.sync) | nights
            ended = time.monotonic()
            state.operator_counts = (ended + KEPT_S if ended - began > LONG_S else 0.0, counts)
    return counts


def _count_fleet(stores: Stores, sync: Sync) -> dict[str, Any]:
    """Return the page's values from the registry."""
    overview, completeness = stores.registry.overview, stores.registry.completeness
    day, today = sync.history.told_day(), sync.history.today()
    # Series requested once a week rarely have yesterday's data.
    nightly = [series for series in stores.registry.outcomes.list_in_use() if series.is_nightly]
    days = {series: sync.history.newest_due_day(series) for series in nightly}
    return {
        "states": overview.count_accounts_by_state(),
        "freshness": completeness.count_complete(days),
        "fresh_days": days,
        "fresh_hours": _fresh_hours(stores, nightly),
        "yesterday": day - ONE_DAY,
        "fresh_from": None if day == today else f"{sync.history.told_from:%H:%M}",
        "errors": overview.list_last_errors(),
    }


def _read_quotas(sync: Sync) -> list[dict[str, Any]]:
    """Return each supplier's quota and gate, the main supplier's first."""
    main = sync.suppliers.main.supplier.name
    presets = {name: sync.suppliers[name].endpoints.preset for name in (main, *(sync.suppliers.keys() - {main}))}
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
