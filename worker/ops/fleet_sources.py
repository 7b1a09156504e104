"""Sources of the fleet's metrics: registry, measure store, Redis and broker.

None of them needs a token key or the supplier's client secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import date
from datetime import time as time_of_day
from itertools import product
from typing import Final

from config.settings import Settings
from worker.app import queue_ages, queue_lengths
from worker.domain.clock import clock_from
from worker.domain.consistency import Cause, Law
from worker.domain.incident import IncidentKind
from worker.domain.planning import Plan
from worker.domain.schedule import night_start
from worker.domain.series import daily_of
from worker.domain.windows import ONE_DAY, civil_date, newest_wanted_day
from worker.ops import fleet_metrics
from worker.ops.capacity import capacity_of, further_capacities
from worker.ops.fleet_metrics import Samples
from worker.ops.health.connections import CheckConnections
from worker.runtime.series import fleet_series
from worker.runtime.stores import build_measures
from worker.runtime.supplier import build_endpoints, chosen_presets, ledger_of
from worker.stores.redis.claims import ProgressStore
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.redis.incidents import IncidentStore
from worker.stores.registry.due import DueTable, PolicyTable
from worker.stores.registry.fleet_counts import Overview
from worker.stores.registry.outcomes import CompletenessTable, OutcomeTable
from worker.stores.registry.outputs import count_waiting_by_kind
from worker.stores.registry.supplier_answers import CorrectionTable
from worker.sync.verification import load_audit_summary

SILENT_S: Final = 60.0  # A worker sends a heartbeat every 4 s.


class FleetSources:
    """Sources of the fleet's metrics; each connects when it is first asked, so one that is down blocks no other.

    Raises ConfigError.
    """

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings = settings
        self._now = clock_from(settings.pretend_now)
        self._endpoints = build_endpoints(settings)
        connections = CheckConnections(settings, stack)
        self._broker_url, self._redis = connections.broker_url, connections.redis
        self._database = connections.registry
        self._ledger = ledger_of(self._endpoints.preset, settings, self._redis)
        presets = chosen_presets(settings)
        # Several suppliers are told apart by a label, in metrics of their own: those of one supplier stay as they were.
        self._presets = presets if len(presets) > 1 else {}
        self._ledgers = {name: ledger_of(preset, settings, self._redis) for name, preset in self._presets.items()}
        self._measures = build_measures(settings, stack)

    def parts(self) -> dict[str, Callable[[], Samples]]:
        return {
            "registry": self._registry_samples,
            "measures": self._check_measures,
            "redis": self._redis_samples,
            "broker": self._broker_samples,
        }

    def _registry_samples(self) -> Samples:
        overview = Overview(self._database)
        now = self._now()
        today = civil_date(now)
        completeness = CompletenessTable(self._database)
        in_use = OutcomeTable(self._database, fleet_series(self._settings)).list_in_use()
        fresh = {
            series: completeness.count_complete_since(series, newest_wanted_day(today, series)) for series in in_use
        }
        yield fleet_metrics.ACCOUNTS, overview.count_accounts_by_state()
        yield fleet_metrics.FRESHNESS, {series: done / active for series, (active, done) in fresh.items() if active}
        yield fleet_metrics.NOTICES, overview.count_waiting_notices()
        yield fleet_metrics.OUTPUT_WAITING, count_waiting_by_kind(self._database)
        yield fleet_metrics.REPAIR_DUE, dict.fromkeys(in_use, 0) | completeness.count_due(today)
        yield (
            fleet_metrics.CORRECTIONS,
            (dict.fromkeys(in_use, 0) | CorrectionTable(self._database).count_since(now - ONE_DAY)),
        )
        new, known = overview.count_deviations_since(now - ONE_DAY)
        yield fleet_metrics.UNKNOWN_ANSWERS, {"new": new, "known": known}
        plan = capacity_of(self._database, self._settings, today).current
        yield fleet_metrics.NIGHT_CALLS, plan.calls_a_night
        yield fleet_metrics.NIGHT_CALLS_LIMIT, plan.quota.night_limit
        yield from self._nights_of_suppliers(plan, today)
        before = night_start(now, time_of_day.fromisoformat(self._settings.nightly_at))
        policy, due = PolicyTable(self._database).load_current(before.date()), DueTable(self._database)
        yield (
            fleet_metrics.NIGHT_DUE,
            {series: due.count_due_tonight(series, policy.every(series), before, today) for series in in_use},
        )

    def _nights_of_suppliers(self, plan: Plan, today: date) -> Samples:
        """Yield the calls of a night by supplier, nothing where there is one alone. ``plan``: the one of Enedis."""
        if not self._presets:
            return
        others = further_capacities(self._database, self._settings, today).items()
        plans = {plan.fleet.supplier: plan, **{name: capacity.current for name, capacity in others}}
        limits = {name: one.quota.night_limit for name, one in plans.items()}
        yield fleet_metrics.SUPPLIER_NIGHT_CALLS, {name: one.calls_a_night for name, one in plans.items()}
        yield (
            fleet_metrics.SUPPLIER_NIGHT_CALLS_LIMIT,
            {name: limit for name, limit in limits.items() if limit is not None},
        )

    def _check_measures(self) -> Samples:
        """Yield nothing; only check that the measure store answers."""
        self._measures.read("metrics", {daily_of().inputs: ("0", "1")})
        return ()

    def _redis_samples(self) -> Samples:
        opens_in_s, pace = self._ledger.gate_state()
        apis = self._endpoints.preset.quota_names
        limit = self._ledger.per_hour
        yield fleet_metrics.GATE_OPEN, opens_in_s <= 0
        yield fleet_metrics.GATE_OPENS_IN, opens_in_s
        yield fleet_metrics.GATE_PACE, pace
        used = {api: self._ledger.used_by_lane(api) for api in apis}
        yield fleet_metrics.PERMITS_USED, {api: sum(lanes.values()) for api, lanes in used.items()}
        yield (
            fleet_metrics.PERMITS_USED_BY_LANE,
            {(api, lane): number for api, lanes in used.items() for lane, number in lanes.items()},
        )
        yield fleet_metrics.PERMITS_LIMIT, dict.fromkeys(apis, limit) if limit else {}
        open_kinds = {incident.kind for incident in IncidentStore(self._redis).open_incidents().values()}
        yield fleet_metrics.INCIDENT_OPEN, {kind: kind in open_kinds for kind in IncidentKind}
        if self._ledgers:
            yield from self._quotas_of_suppliers()
        yield from self._heartbeats()
        yield from self._audit()

    def _quotas_of_suppliers(self) -> Samples:
        """Yield gate and permits of each supplier."""
        gates = {name: ledger.gate_state() for name, ledger in self._ledgers.items()}
        yield fleet_metrics.SUPPLIER_GATE_OPEN, {name: opens_in_s <= 0 for name, (opens_in_s, _) in gates.items()}
        yield fleet_metrics.SUPPLIER_GATE_OPENS_IN, {name: opens_in_s for name, (opens_in_s, _) in gates.items()}
        yield fleet_metrics.SUPPLIER_GATE_PACE, {name: pace for name, (_, pace) in gates.items()}
        apis = [(name, api) for name, preset in self._presets.items() for api in preset.quota_names]
        used = {(name, api): sum(self._ledgers[name].used_by_lane(api).values()) for name, api in apis}
        yield fleet_metrics.SUPPLIER_PERMITS_USED, used
        hourly = _limits(apis, {name: ledger.per_hour for name, ledger in self._ledgers.items()})
        yield fleet_metrics.SUPPLIER_PERMITS_LIMIT, hourly
        daily = _limits(apis, {name: ledger.per_day for name, ledger in self._ledgers.items()})
        in_a_day = {(name, api): self._ledgers[name].used_in_a_day(api) for name, api in daily}
        yield fleet_metrics.SUPPLIER_PERMITS_USED_IN_A_DAY, in_a_day
        yield fleet_metrics.SUPPLIER_PERMITS_DAY_LIMIT, daily

    def _broker_samples(self) -> Samples:
        yield fleet_metrics.QUEUE_MESSAGES, queue_lengths(self._broker_url)
        yield fleet_metrics.QUEUE_AGE, queue_ages(self._broker_url)

    def _heartbeats(self) -> Samples:
        heartbeats = Heartbeats(self._redis)
        published_at, tick_at = heartbeats.beat_and_tick()
        workers = heartbeats.workers()
        now = heartbeats.now()
        silent = sum(now - worker.seen_at > SILENT_S for worker in workers)
        yield fleet_metrics.BEAT_PUBLISHED, published_at
        yield fleet_metrics.BEAT_TICK, tick_at
        yield fleet_metrics.WORKERS, {"heard": len(workers) - silent, "silent": silent}
        yield fleet_metrics.RESTARTS, sum(worker.restarts for worker in workers)

    def _audit(self) -> Samples:
        """Yield the last audit, with a 0 for each law and cause that it did not find."""
        if (last := load_audit_summary(ProgressStore(self._redis))) is None:
            return
        at, summary = last
        numbers = {(finding["law"], finding["cause"]): float(finding["number"]) for finding in summary["findings"]}
        yield fleet_metrics.AUDIT_AT, at.timestamp()
        yield fleet_metrics.AUDIT_ACCOUNTS, summary["accounts"]
        yield fleet_metrics.AUDIT_AT_FAULT, summary["accounts_at_fault"]
        if self._presets:
            yield fleet_metrics.AUDIT_DEVIATIONS, summary.get("deviations", 0)
        yield fleet_metrics.AUDIT_FINDINGS, dict.fromkeys(product(map(str, Law), map(str, Cause)), 0.0) | numbers


def _limits(apis: Iterable[tuple[str, str]], limits: Mapping[str, int | None]) -> dict[tuple[str, str], int]:
    """Return the limit of each API of a supplier that has one."""
    return {(name, api): limit for name, api in apis if (limit := limits[name])}
