"""Definitions of the fleet's metrics, and the Prometheus collector behind `releve metrics`.

These metrics are about all workers together; what one worker counts of its own work is in ``worker.metrics``.  The
collector asks each part (registry, measure store, Redis, broker) when Prometheus asks us.  A part that does not answer
costs only its own metrics.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from multiprocessing.pool import AsyncResult, ThreadPool
from typing import Any, Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.clients.suppliers import SUPPLIERS
from worker.domain.account import AccountState
from worker.domain.consistency import Cause, Law
from worker.domain.incident import IncidentKind
from worker.domain.lanes import QUOTA_LANES
from worker.domain.series import Series
from worker.errors import WorkerError
from worker.metrics import Definition, MetricRegistry

METRICS: Final = MetricRegistry()
UP: Final = METRICS.define(
    "gauge",
    "releve_up",
    "1 if this part answers. If it does not, its metrics are missing.",
    part=("registry", "measures", "redis", "broker"),
)
# -- the registry
ACCOUNTS: Final = METRICS.define("gauge", "releve_accounts", "Accounts, by state.", state=AccountState)
FRESHNESS: Final = METRICS.define(
    "gauge",
    "releve_freshness_ratio",
    "Share of active accounts with all data of the newest day that the series should have, usually yesterday "
    "(Europe/Paris). Missing without an active account.",
    series=Series,
)
NOTICES: Final = METRICS.define("gauge", "releve_notices_waiting", "Notices that wait for delivery.")
OUTPUT_WAITING: Final = METRICS.define(
    "gauge", "releve_output_series_waiting", "Changed series of accounts that wait for an output.", output=()
)
REPAIR_DUE: Final = METRICS.define(
    "gauge",
    "releve_repair_accounts_due",
    "Active accounts with open days that are due for a repair.",
    series=Series,
)
CORRECTIONS: Final = METRICS.define(
    "gauge",
    "releve_corrections_last_day",
    "Corrections in the last 24 hours, each counted once.",
    series=Series,
)
UNKNOWN_ANSWERS: Final = METRICS.define(
    "gauge",
    "releve_unknown_answers",
    "Samples in quarantine that the supplier sent in the last 24 hours: new, or already known.",
    state=("new", "known"),
)
NIGHT_CALLS: Final = METRICS.define(
    "gauge", "releve_night_calls", "Calls that a nightly sync needs with the present accounts and plan."
)
NIGHT_CALLS_LIMIT: Final = METRICS.define(
    "gauge",
    "releve_night_calls_limit",
    "Calls that the quota leaves for a nightly sync if other lanes are busy. Missing without a limit.",
)
# -- Redis
GATE_OPEN: Final = METRICS.define("gauge", "releve_gate_open", "1 if calls are allowed, 0 during a rate-limit pause.")
GATE_OPENS_IN: Final = METRICS.define(
    "gauge", "releve_gate_opens_in_seconds", "Time until the rate-limit pause ends; 0 without a pause."
)
PERMITS_USED: Final = METRICS.define("gauge", "releve_permits_used", "Permits used in the last hour.", api=())
PERMITS_USED_BY_LANE: Final = METRICS.define(
    "gauge",
    "releve_permits_used_by_lane",
    "Permits used in the last hour, by lane, in the order of priority.",
    api=(),
    lane=QUOTA_LANES,
)
PERMITS_LIMIT: Final = METRICS.define(
    "gauge", "releve_permits_limit", "Permits that the quota allows an hour. Missing without a limit.", api=()
)
GATE_PACE: Final = METRICS.define(
    "gauge",
    "releve_gate_pace_ratio",
    "Share of the full call rate that is allowed: 0 in a rate-limit pause, then rising to 1.",
)
INCIDENT_OPEN: Final = METRICS.define(
    "gauge",
    "releve_incident_open",
    "1 while an incident of this kind is open: many accounts fail alike.",
    kind=IncidentKind,
)
NIGHT_DUE: Final = METRICS.define(
    "gauge",
    "releve_night_due",
    "Active series that the current nightly sync has not asked for yet; 0 when the sync is complete.",
    series=Series,
)
BEAT_PUBLISHED: Final = METRICS.define(
    "gauge", "releve_beat_last_publish_timestamp_seconds", "When beat last sent a message. Missing if never."
)
BEAT_TICK: Final = METRICS.define(
    "gauge",
    "releve_beat_last_tick_timestamp_seconds",
    "When a worker last ran the task that beat sends every minute. Missing if never.",
)
WORKERS: Final = METRICS.define(
    "gauge",
    "releve_workers",
    "Workers of the last 15 minutes: heard from in the last minute, or silent.",
    state=("heard", "silent"),
)
RESTARTS: Final = METRICS.define(
    "counter",
    "releve_watchdog_restarts_total",
    "Restarts of workers by their watchdog, because they had lost the broker.",
)
AUDIT_AT: Final = METRICS.define(
    "gauge",
    "releve_audit_last_timestamp_seconds",
    "When the audit last checked a sample of accounts. Missing if no audit ran in the last week.",
)
AUDIT_ACCOUNTS: Final = METRICS.define(
    "gauge", "releve_audit_accounts", "Accounts that the last audit checked. Missing without an audit."
)
AUDIT_AT_FAULT: Final = METRICS.define(
    "gauge",
    "releve_audit_accounts_at_fault",
    "Accounts of the last audit with wrong documents. Missing without an audit.",
)
AUDIT_FINDINGS: Final = METRICS.define(
    "gauge",
    "releve_audit_findings",
    "Wrong documents found by the last audit, by violated rule (law) and likely cause.",
    law=Law,
    cause=Cause,
)
AUDIT_DEVIATIONS: Final = METRICS.define(
    "gauge",
    "releve_audit_deviations",
    "Months of gas in the last audit whose days differ by more than 1 m³ from the published month. Not an error. "
    "Missing without gas.",
)
# -- each supplier, where there are several; those above are then Enedis' alone
SUPPLIER_GATE_OPEN: Final = METRICS.define(
    "gauge",
    "releve_supplier_gate_open",
    "1 if calls to a supplier are allowed, 0 during its rate-limit pause. Missing with a single supplier.",
    supplier=SUPPLIERS,
)
SUPPLIER_GATE_OPENS_IN: Final = METRICS.define(
    "gauge",
    "releve_supplier_gate_opens_in_seconds",
    "Time until a supplier's rate-limit pause ends.",
    supplier=SUPPLIERS,
)
SUPPLIER_GATE_PACE: Final = METRICS.define(
    "gauge",
    "releve_supplier_gate_pace_ratio",
    "Share of the full call rate to a supplier that is allowed.",
    supplier=SUPPLIERS,
)
SUPPLIER_PERMITS_USED: Final = METRICS.define(
    "gauge",
    "releve_supplier_permits_used",
    "Permits of a supplier used in the last hour.",
    supplier=SUPPLIERS,
    api=(),
)
SUPPLIER_PERMITS_LIMIT: Final = METRICS.define(
    "gauge",
    "releve_supplier_permits_limit",
    "Permits that a supplier's quota allows an hour.",
    supplier=SUPPLIERS,
    api=(),
)
SUPPLIER_PERMITS_USED_IN_A_DAY: Final = METRICS.define(
    "gauge",
    "releve_supplier_permits_used_in_a_day",
    "Permits of a supplier used in the last 24 hours. Missing without a daily limit.",
    supplier=SUPPLIERS,
    api=(),
)
SUPPLIER_PERMITS_DAY_LIMIT: Final = METRICS.define(
    "gauge",
    "releve_supplier_permits_day_limit",
    "Permits that a supplier's quota allows a day. Missing without a daily limit.",
    supplier=SUPPLIERS,
    api=(),
)
SUPPLIER_NIGHT_CALLS: Final = METRICS.define(
    "gauge",
    "releve_supplier_night_calls",
    "Calls that a nightly sync needs for a supplier's present accounts.",
    supplier=SUPPLIERS,
)
SUPPLIER_NIGHT_CALLS_LIMIT: Final = METRICS.define(
    "gauge",
    "releve_supplier_night_calls_limit",
    "Calls that a supplier's quota leaves for a nightly sync if other lanes are busy.",
    supplier=SUPPLIERS,
)
# -- the broker
QUEUE_MESSAGES: Final = METRICS.define("gauge", "releve_queue_messages", "Messages waiting in a queue.", queue=())
QUEUE_AGE: Final = METRICS.define(
    "gauge",
    "releve_queue_oldest_message_age_seconds",
    "Age of the next message in a queue, 0 for an empty queue (Redis only, because RabbitMQ does not tell).",
    queue=(),
)
log = logging.getLogger("releve.metrics")
TIMEOUT_S: Final = 6.0  # Prometheus itself waits 10 s by default.
# A metric's value, None where it has none; with labels its values by the value of the label, or by a tuple of several.
Value = float | None | Mapping[Any, float]
Samples = Iterable[tuple[Definition, Value]]


class FleetCollector(Collector):
    """Prometheus collector that asks all parts of the fleet at the same time, each in its own thread.

    ``parts``: a function by name that returns samples or raises WorkerError.  A part that has not answered within
    ``timeout_s`` counts as down, and is not asked again until it has answered.  ``down`` has the names of the parts
    that were down at the last collection.  Safe to use from several threads.
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
        """Return nothing, because the names are known only after asking all parts."""
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
        """Wait for a part's metrics until ``deadline``; None where it is down, which is logged."""
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
        family.add_metric([labels] if isinstance(labels, str) else labels, float(number))
    return family


def _metrics_of(part: Callable[[], Samples]) -> list[Metric]:
    return [to_metric(definition, value) for definition, value in part()]
