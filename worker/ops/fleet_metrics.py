"""The fleet's metrics, and the Prometheus collector behind `releve metrics`.

These metrics are about all workers together; the metrics of a single worker's own tasks are in ``worker.metrics``. When
Prometheus scrapes us, the collector asks each part (registry, measure store, Redis, broker). If a part does not answer,
only the metrics of this part are missing. No part needs a token key or the supplier's client secret.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from datetime import time as time_of_day
from datetime import timedelta
from functools import partial
from itertools import product
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import Any, Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from config.settings import Settings
from worker.app import queue_ages, queue_lengths
from worker.clients.suppliers import SUPPLIERS
from worker.domain.account import AccountState
from worker.domain.audit_entry import TOO_MANY_CODES
from worker.domain.campaign import RecipientState
from worker.domain.clock import clock_from, real_clock
from worker.domain.consistency import Cause, Law
from worker.domain.incident import IncidentKind
from worker.domain.lanes import QUOTA_LANES
from worker.domain.schedule import night_start
from worker.domain.series import Series, daily_of
from worker.domain.windows import ONE_DAY, civil_date, newest_wanted_day
from worker.errors import StoreUnavailable, WorkerError
from worker.metrics import Definition, MetricRegistry
from worker.ops.capacity import capacity_of
from worker.ops.check_results import CheckConnections, summarize
from worker.ops.store_checks import check_databases
from worker.runtime.stores import build_measures
from worker.runtime.supplier_settings import chosen_presets, ledger_of, main_supplier
from worker.stores.redis.claims import ProgressStore
from worker.stores.redis.heartbeats import Heartbeats
from worker.stores.redis.incidents import IncidentStore
from worker.stores.registry.outputs import count_waiting_by_kind
from worker.sync.verification import load_audit_summary

log = logging.getLogger("releve.metrics")
TIMEOUT_S: Final = 6.0  # Prometheus itself waits 10 s by default.
# A metric's number; None if unknown. For a metric with one label: the number for each value of the label. For a metric
# with several labels: the number for each tuple of their values.
Value = float | None | Mapping[Any, float | None]
Samples = Iterable[tuple[Definition, Value]]
# A worker whose last heartbeat is older counts as silent. A fleet's workers send one every 4 s.
SILENT_S: Final = 60.0
METRICS: Final = MetricRegistry()
_gauge: Final = partial(METRICS.define, "gauge")
UP: Final = _gauge(
    "releve_up",
    "1 if this part answers, and no database of the measures is lost. If it does not, its metrics are missing.",
    part=("registry", "measures", "redis", "broker"),
)
# -- the registry
ACCOUNTS: Final = _gauge("releve_accounts", "Accounts, by state.", state=AccountState)
FRESHNESS: Final = _gauge(
    "releve_freshness_ratio",
    "Share of active accounts with all data of the newest day that the series should have, usually yesterday "
    "(Europe/Paris). Missing without an active account.",
    series=Series,
)
NOTICES: Final = _gauge("releve_notices_waiting", "Notices that wait for delivery.")
CAMPAIGN_RECIPIENTS: Final = _gauge(
    "releve_campaign_recipients",
    "Accounts of the campaigns of the last 400 days, each once a campaign and address.",
    state=RecipientState,
)
OUTPUT_WAITING: Final = _gauge(
    "releve_output_series_waiting", "Changed series of accounts that wait for an output.", output=()
)
REPAIR_DUE: Final = _gauge(
    "releve_repair_accounts_due", "Active accounts with open days that are due for a repair.", series=Series
)
CORRECTIONS: Final = _gauge(
    "releve_corrections_last_day", "Corrections in the last 24 hours, each counted once.", series=Series
)
UNKNOWN_ANSWERS: Final = _gauge(
    "releve_unknown_answers",
    "Samples in quarantine that the supplier sent in the last 24 hours: new, or already known.",
    state=("new", "known"),
)
# -- Redis
INCIDENT_OPEN: Final = _gauge(
    "releve_incident_open", "1 while an incident of this kind is open: many accounts fail alike.", kind=IncidentKind
)
NIGHT_DUE: Final = _gauge(
    "releve_night_due",
    "Active series that the current nightly sync has not asked for yet; 0 when the sync is complete.",
    series=Series,
)
BEAT_PUBLISHED: Final = _gauge(
    "releve_beat_last_publish_timestamp_seconds", "When beat last sent a message. Missing if never."
)
BEAT_TICK: Final = _gauge(
    "releve_beat_last_tick_timestamp_seconds", "When a worker last ran beat's test task. Missing if never."
)
WORKERS: Final = _gauge(
    "releve_workers",
    "Workers of the last 15 minutes: heard from in the last minute, or silent.",
    state=("heard", "silent"),
)
RESTARTS: Final = METRICS.define(
    "counter",
    "releve_watchdog_restarts_total",
    "Restarts of workers by their watchdog, because they had lost the broker.",
)
AUDIT_AT: Final = _gauge(
    "releve_audit_last_timestamp_seconds",
    "When the audit last checked a sample of accounts. Missing if no audit ran in the last week.",
)
AUDIT_ACCOUNTS: Final = _gauge(
    "releve_audit_accounts", "Accounts that the last audit checked. Missing without an audit."
)
AUDIT_AT_FAULT: Final = _gauge(
    "releve_audit_accounts_at_fault", "Accounts of the last audit with wrong documents. Missing without an audit."
)
AUDIT_FINDINGS: Final = _gauge(
    "releve_audit_findings",
    "Wrong documents found by the last audit, by violated rule (law) and likely cause.",
    law=Law,
    cause=Cause,
)
AUDIT_DEVIATIONS: Final = _gauge(
    "releve_audit_deviations",
    "Months of gas in the last audit whose days differ by more than 1 m³ from the published month. Not an error. "
    "Missing without gas.",
)
CODES_REFUSED: Final = _gauge(
    "releve_operator_codes_refused",
    "One-time codes of operators refused in the last hour, beyond 20 an hour beside a right password, session or link.",
)
# -- each supplier
_supplier_gauge: Final = partial(_gauge, supplier=SUPPLIERS)
NIGHT_CALLS: Final = _supplier_gauge(
    "releve_supplier_night_calls", "Calls that a nightly sync needs with the present accounts and plan."
)
NIGHT_CALLS_LIMIT: Final = _supplier_gauge(
    "releve_supplier_night_calls_limit",
    "Calls that the quota leaves for a nightly sync if other lanes are busy. Missing without a limit.",
)
GATE_OPEN: Final = _supplier_gauge("releve_supplier_gate_open", "1 if calls are allowed, 0 during a rate-limit pause.")
GATE_OPENS_IN: Final = _supplier_gauge(
    "releve_supplier_gate_opens_in_seconds", "Time until the rate-limit pause ends; 0 without a pause."
)
GATE_PACE: Final = _supplier_gauge(
    "releve_supplier_gate_pace_ratio",
    "Share of the full call rate that is allowed: 0 in a rate-limit pause, then rising to 1.",
)
PERMITS_USED: Final = _supplier_gauge("releve_supplier_permits_used", "Permits used in the last hour.", api=())
PERMITS_USED_BY_LANE: Final = _supplier_gauge(
    "releve_supplier_permits_used_by_lane",
    "Permits used in the last hour, by lane, in the order of priority.",
    api=(),
    lane=QUOTA_LANES,
)
PERMITS_LIMIT: Final = _supplier_gauge(
    "releve_supplier_permits_limit", "Permits that the quota allows an hour. Missing without a limit.", api=()
)
PERMITS_USED_IN_A_DAY: Final = _supplier_gauge(
    "releve_supplier_permits_used_in_a_day",
    "Permits used in the last 24 hours, of a home's gateway in the last 12. Missing without such a limit.",
    api=(),
)
PERMITS_DAY_LIMIT: Final = _supplier_gauge(
    "releve_supplier_permits_day_limit",
    "Permits that the quota allows in that time. Missing without such a limit.",
    api=(),
)
# The gauges of 0.2.0, for the main supplier only and without the label ``supplier``. The next release drops them.
OLD_GAUGES: Final = {
    new.name: _gauge(
        new.name.replace("_supplier", "", 1),
        f"Old: use `{new.name}`. Of Enedis or a home's gateway alone.",
        **{label: values for label, values in new.labels.items() if label != "supplier"},
    )
    for new in (
        NIGHT_CALLS,
        NIGHT_CALLS_LIMIT,
        GATE_OPEN,
        GATE_OPENS_IN,
        GATE_PACE,
        PERMITS_USED,
        PERMITS_USED_BY_LANE,
        PERMITS_LIMIT,
    )
}
# -- the broker
QUEUE_MESSAGES: Final = _gauge("releve_queue_messages", "Messages waiting in a queue.", queue=())
QUEUE_AGE: Final = _gauge(
    "releve_queue_oldest_message_age_seconds",
    "Age of the next message in a queue, 0 for an empty queue (Redis only, because RabbitMQ does not tell).",
    queue=(),
)


class FleetCollector(Collector):
    """Prometheus collector that asks all parts of the fleet at the same time, each in its own thread.

    ``parts``: a function for each part, by the part's name; it returns samples or raises WorkerError. A part that has
    not answered within ``timeout_s`` counts as down, and is not asked again until it has answered. ``down`` has the
    names of the parts that were down at the last collection. Safe to use from several threads.
    """

    def __init__(self, parts: Mapping[str, Callable[[], Samples]], *, timeout_s: float = TIMEOUT_S) -> None:
        self.down: set[str] = set()
        self._parts = parts
        self._timeout_s = timeout_s
        # The pool's threads are daemons, so a part that never answers does not keep the process from ending.
        self._threads = ThreadPool(len(parts))
        self._pending: dict[str, AsyncResult[list[Metric]]] = {}
        self._lock = threading.Lock()

    def describe(self) -> Iterable[Metric]:
        """Return nothing, because the names of the metrics are known only after asking all parts."""
        return ()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            for name, part in self._parts.items():
                if name not in self._pending:
                    self._pending[name] = self._threads.apply_async(
                        _metrics_of, (part,), error_callback=partial(_log_error, name)
                    )
            deadline = time.monotonic() + self._timeout_s
            answers = {name: self._answer(name, deadline) for name in self._parts}
            self.down = {name for name, metrics in answers.items() if metrics is None}
            up = to_metric(UP, {name: float(name not in self.down) for name in answers})
            return [up, *(metric for metrics in answers.values() for metric in metrics or ())]

    def close(self) -> None:
        self._threads.terminate()

    def _answer(self, name: str, deadline: float) -> list[Metric] | None:
        """Return the metrics of a part, waiting until ``deadline``; if the part is down, log this and return None."""
        result = self._pending[name]
        result.wait(max(0.0, deadline - time.monotonic()))
        if not result.ready():
            log.warning("part=%s has not answered in %.0f s", name, self._timeout_s)
            return None
        del self._pending[name]
        return result.get() if result.successful() else None


def _log_error(name: str, error: BaseException) -> None:
    reason = error if isinstance(error, WorkerError) else f"unexpected {type(error).__name__}, a bug in Relève"
    log.warning("part=%s can't be asked: %s", name, reason)


def to_metric(definition: Definition, value: Value) -> Metric:
    family = (CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily)(
        definition.name, definition.help, labels=list(definition.labels)
    )
    values = value if isinstance(value, Mapping) else {} if value is None else {(): value}
    for labels, number in values.items():
        if number is not None:
            family.add_metric([labels] if isinstance(labels, str) else labels, float(number))
    return family


def _metrics_of(part: Callable[[], Samples]) -> list[Metric]:
    return [to_metric(definition, value) for definition, value in part()]


class FleetSources:
    """The sources of the fleet's metrics. Each connects when first asked, so a source that is down blocks no other.

    The constructor raises ConfigError.
    """

    def __init__(self, settings: Settings, stack: ExitStack) -> None:
        self._settings = settings
        self._now = clock_from(settings.pretend_now)
        self._connections = connections = CheckConnections(settings, stack)
        self._broker_url, self._redis = connections.broker_url, connections.redis
        self._registry = connections.registry
        self._presets = chosen_presets(settings)
        self._measures = build_measures(settings, stack)

    def parts(self) -> dict[str, Callable[[], Samples]]:
        return {
            "registry": lambda: self._with_old_gauges(self._registry_samples()),
            "measures": self._check_measures,
            "redis": lambda: self._with_old_gauges(self._redis_samples()),
            "broker": self._broker_samples,
        }

    def _with_old_gauges(self, samples: Samples) -> Samples:
        main = main_supplier(self._settings)
        for definition, value in samples:
            yield definition, value
            if (old := OLD_GAUGES.get(definition.name)) and isinstance(value, Mapping):
                yield old, {labels[1:]: number for labels, number in value.items() if labels[0] == main}

    def _registry_samples(self) -> Samples:
        registry, overview, completeness = self._registry, self._registry.overview, self._registry.completeness
        now = self._now()
        today = civil_date(now)
        in_use = registry.outcomes.list_in_use()
        fresh = completeness.count_complete({series: newest_wanted_day(today, series) for series in in_use})
        yield ACCOUNTS, overview.count_accounts_by_state()
        yield FRESHNESS, {series: done / active for series, (active, done) in fresh.items() if active}
        yield NOTICES, overview.count_waiting_notices()
        yield CAMPAIGN_RECIPIENTS, registry.campaigns.count_states()
        yield OUTPUT_WAITING, count_waiting_by_kind(registry.database)
        yield REPAIR_DUE, dict.fromkeys(in_use, 0) | completeness.count_due(today)
        yield CORRECTIONS, dict.fromkeys(in_use, 0) | registry.corrections.count_since(now - ONE_DAY)
        new, known = overview.count_deviations_since(now - ONE_DAY)
        yield UNKNOWN_ANSWERS, {"new": new, "known": known}
        yield CODES_REFUSED, registry.audit.count_since(real_clock() - timedelta(hours=1), TOO_MANY_CODES)
        plans = {name: capacity_of(registry, self._settings, today, name).current for name in self._presets}
        yield NIGHT_CALLS, {(name,): plan.calls_a_night for name, plan in plans.items()}
        yield NIGHT_CALLS_LIMIT, {(name,): plan.quota.night_limit for name, plan in plans.items()}
        before = night_start(now, time_of_day.fromisoformat(self._settings.nightly_at))
        policy, count = registry.policies.load_current(before.date()), registry.due.count_due_tonight
        yield NIGHT_DUE, {series: count(series, policy.every(series), before, today) for series in in_use}

    def _check_measures(self) -> Samples:
        """Check that the measure store answers and has lost no database; return no samples."""
        self._measures.read("metrics", {daily_of().inputs: ("0", "1")})
        if (result := summarize("databases", check_databases(self._connections))).failed:
            raise StoreUnavailable(result.text)
        return ()

    def _redis_samples(self) -> Samples:
        yield from self._quotas()
        open_kinds = {incident.kind for incident in IncidentStore(self._redis).open_incidents().values()}
        yield INCIDENT_OPEN, {kind: kind in open_kinds for kind in IncidentKind}
        yield from self._heartbeats()
        yield from self._audit()

    def _quotas(self) -> Samples:
        ledgers = {name: ledger_of(preset, self._settings, self._redis) for name, preset in self._presets.items()}
        gates = {(name,): ledger.gate_state() for name, ledger in ledgers.items()}
        yield GATE_OPEN, {labels: opens_in_s <= 0 for labels, (opens_in_s, _) in gates.items()}
        yield GATE_OPENS_IN, {labels: opens_in_s for labels, (opens_in_s, _) in gates.items()}
        yield GATE_PACE, {labels: pace for labels, (_, pace) in gates.items()}
        apis = {(name, api): ledgers[name] for name, preset in self._presets.items() for api in preset.quota_names}
        used = {labels: ledger.used_by_lane(labels[1]) for labels, ledger in apis.items()}
        yield PERMITS_USED, {labels: sum(lanes.values()) for labels, lanes in used.items()}
        yield (
            PERMITS_USED_BY_LANE,
            {(*labels, lane): number for labels, lanes in used.items() for lane, number in lanes.items()},
        )
        yield PERMITS_LIMIT, {labels: ledger.per_hour for labels, ledger in apis.items()}
        daily = {labels: ledger for labels, ledger in apis.items() if ledger.per_day}
        yield PERMITS_USED_IN_A_DAY, {labels: ledger.used_in_a_day(labels[1]) for labels, ledger in daily.items()}
        yield PERMITS_DAY_LIMIT, {labels: ledger.per_day for labels, ledger in daily.items()}

    def _broker_samples(self) -> Samples:
        yield QUEUE_MESSAGES, queue_lengths(self._broker_url)
        yield QUEUE_AGE, queue_ages(self._broker_url)

    def _heartbeats(self) -> Samples:
        heartbeats = Heartbeats(self._redis)
        published_at, tick_at = heartbeats.beat_and_tick()
        workers = heartbeats.workers()
        now = heartbeats.now()
        silent = sum(now - worker.seen_at > SILENT_S for worker in workers)
        yield BEAT_PUBLISHED, published_at
        yield BEAT_TICK, tick_at
        yield WORKERS, {"heard": len(workers) - silent, "silent": silent}
        yield RESTARTS, sum(worker.restarts for worker in workers)

    def _audit(self) -> Samples:
        """Yield the results of the last audit of stored data. Pairs of ``Law`` and ``Cause`` without findings get 0."""
        if (last := load_audit_summary(ProgressStore(self._redis))) is None:
            return
        at, summary = last
        numbers = {(finding["law"], finding["cause"]): float(finding["number"]) for finding in summary["findings"]}
        yield AUDIT_AT, at.timestamp()
        yield AUDIT_ACCOUNTS, summary["accounts"]
        yield AUDIT_AT_FAULT, summary["accounts_at_fault"]
        if len(self._presets) > 1:
            yield AUDIT_DEVIATIONS, summary.get("deviations", 0)
        yield AUDIT_FINDINGS, dict.fromkeys(product(map(str, Law), map(str, Cause)), 0.0) | numbers
