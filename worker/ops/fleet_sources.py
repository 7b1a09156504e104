"""What registry, measure store, Redis and broker tell of the fleet; no token key and no supplier's secret is needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import date, timedelta
from datetime import time as time_of_day
from functools import cached_property
from itertools import product
from typing import Any, Final

from config.settings import ConfigError, Settings
from worker.app import count_workers, queue_ages, queue_lengths
from worker.domain.clock import clock_from
from worker.domain.fleet.incidents import IncidentKind
from worker.domain.fleet.lanes import QuotaLane
from worker.domain.measures.conservation import Cause, Law
from worker.domain.measures.readings import ONE_DAY, PARIS, Period, Series
from worker.ops import fleet_metrics
from worker.ops.capacity import fit_of
from worker.ops.fleet_metrics import Told, Values
from worker.runtime.process import calls_per_hour, endpoints_from, ledger_from, measures_from, redis_url_from
from worker.stores.redis.connection import connect
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.redis.incidents import IncidentStore
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.database import Database
from worker.stores.registry.overview import Overview
from worker.sync.audit import last_tally
from worker.sync.due import Night, night_progress

SILENT_S: Final = 60.0  # a worker tells of itself every quarter of a minute
_PING_S: Final = 1.0


class FleetSources:
    """Connects to each part when it is first asked, so that one that is down stops nobody.  Raises ConfigError."""

    def __init__(self, settings: Settings, opened: ExitStack) -> None:
        self.settings = settings
        self._now = clock_from(settings.pretend_now)
        self._endpoints = endpoints_from(settings)
        self.redis_url = redis_url_from(settings, opened)
        self._redis = connect(self.redis_url)
        self.state = ProgressStore(self._redis)
        self._incidents = IncidentStore(self._redis)
        opened.callback(self._redis.close)
        self._ledger = ledger_from(settings, self._redis, self._endpoints)
        self._measures = measures_from(settings)
        try:
            self._database = Database(settings.registry())
        except ValueError as error:
            raise ConfigError(f"RELEVE_REGISTRY_URL: {error}") from None
        opened.callback(self._database.close)

    @cached_property
    def parts(self) -> Mapping[str, Callable[[], Told]]:
        told = (self.registry, self.measures, self.redis, self.broker)
        return dict(zip(fleet_metrics.PARTS, told, strict=True))

    def registry(self) -> Told:
        overview = Overview(self._database)
        now = self._now()
        today = now.astimezone(PARIS).date()
        shares = {series: overview.freshness(series, today - ONE_DAY).share for series in Series}
        yield fleet_metrics.ACCOUNTS, _by_label(overview.accounts_by_state())
        yield (
            fleet_metrics.FRESHNESS,
            _by_label({series: share for series, share in shares.items() if share is not None}),
        )
        yield fleet_metrics.NOTICES, _one(overview.notices_waiting())
        yield fleet_metrics.REPAIR_DUE, _by_label(overview.accounts_due(today))
        yield fleet_metrics.CORRECTED, _by_label(overview.corrections_since(now - ONE_DAY))
        new, known = overview.surprises_since(now - ONE_DAY)
        yield fleet_metrics.SURPRISES, _by_label({"new": new, "known": known})
        yield from self._fit(today)

    def _fit(self, today: date) -> Told:
        held = fit_of(self._database, self.settings, today).held
        yield fleet_metrics.NIGHT_CALLS, _one(held.calls_a_night)
        yield fleet_metrics.NIGHT_CALLS_LIMIT, _known(held.quota.a_night)

    def measures(self) -> Told:
        """Nothing but that it answers."""
        self._measures[Period.DAY].read("metrics", "0", "1")
        return ()

    def redis(self) -> Told:
        opens_in_s, pace = self._ledger.gate.state()
        apis = self._endpoints.preset.apis
        limit = calls_per_hour(self.settings, self._endpoints)
        yield fleet_metrics.GATE_OPEN, _one(opens_in_s <= 0)
        yield fleet_metrics.GATE_OPENS_IN, _one(opens_in_s)
        yield fleet_metrics.GATE_PACE, _one(pace)
        used = {api: self._ledger.used_by_lane(api) for api in apis}
        yield fleet_metrics.PERMITS_USED, _by_label({api: sum(lanes.values()) for api, lanes in used.items()})
        yield fleet_metrics.PERMITS_USED_BY_LANE, _by_labels(used)
        yield fleet_metrics.PERMITS_LIMIT, _by_label(dict.fromkeys(apis, limit) if limit else {})
        open_now = {incident.kind for incident in self._incidents.all_open().values()}
        yield fleet_metrics.INCIDENT_OPEN, _by_label({kind: kind in open_now for kind in IncidentKind})
        yield from self._night()
        yield from self._pulse()
        yield from self._audit()

    def broker(self) -> Told:
        yield (
            fleet_metrics.ANSWERING,
            _one(count_workers(self, _PING_S)),
        )  # the first, for it says soonest that nobody is there
        yield fleet_metrics.QUEUE_MESSAGES, _by_label(queue_lengths(self))
        yield fleet_metrics.QUEUE_AGE, _by_label(queue_ages(self))

    def _night(self) -> Told:
        """Of the last one whose hour has come."""
        now = self._now().astimezone(PARIS)
        begun = now.time() >= time_of_day.fromisoformat(self.settings.nightly_at)
        progress = night_progress(self.state, Night(now.date() - timedelta(days=0 if begun else 1)))
        yield fleet_metrics.NIGHT_FED, _one(progress.fed)
        yield fleet_metrics.NIGHT_COMPLETE, _one(progress.complete)

    def _pulse(self) -> Told:
        pulse = Heartbeats(self._redis)
        published, tick = pulse.beat_and_tick()
        workers = pulse.workers()
        silent = sum(time.time() - worker.seen_at > SILENT_S for worker in workers)
        yield fleet_metrics.BEAT_PUBLISHED, _known(published)
        yield fleet_metrics.BEAT_TICK, _known(tick)
        yield fleet_metrics.WORKERS, _by_label({"heard": len(workers) - silent, "silent": silent})
        yield fleet_metrics.RESTARTS, _one(sum(pulse.restarts().values()))

    def _audit(self) -> Told:
        """Every law and cause, those that were not found too."""
        if (last := last_tally(self)) is None:
            return
        at, told = last
        findings: dict[tuple[str, ...], float] = {(law.value, cause.value): 0.0 for law, cause in product(Law, Cause)}
        findings.update(((found["law"], found["cause"]), float(found["number"])) for found in told["findings"])
        yield fleet_metrics.AUDIT_AT, _one(at.timestamp())
        yield fleet_metrics.AUDIT_ACCOUNTS, _one(told["accounts"])
        yield fleet_metrics.AUDIT_AT_FAULT, _one(told["accounts_at_fault"])
        yield fleet_metrics.AUDIT_FINDINGS, findings


def _one(value: float) -> Values:
    return {(): float(value)}


def _known(value: float | None) -> Values:
    return {} if value is None else _one(value)


def _by_labels(values: Mapping[str, Mapping[QuotaLane, int]]) -> Values:
    return {(outer, inner.value): float(value) for outer, told in values.items() for inner, value in told.items()}


def _by_label(values: Mapping[Any, float]) -> Values:
    return {(str(label),): float(value) for label, value in values.items()}
