"""What is asked for all workers together, at `releve metrics`; nothing here is counted by a worker."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from multiprocessing.pool import ThreadPool
from typing import Final

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from worker.domain.consent.accounts import AccountState
from worker.domain.fleet.incidents import IncidentKind
from worker.domain.fleet.lanes import QuotaLane
from worker.domain.measures.conservation import Cause, Law
from worker.domain.measures.readings import Series
from worker.errors import WorkerError
from worker.metrics import Definition, MetricRegistry

BOOK: Final = MetricRegistry()

PARTS: Final = ("registry", "measures", "redis", "broker")

UP: Final = BOOK.define(
    "gauge", "releve_up", "Whether this part could be asked; what it tells is missing where not.", part=PARTS
)

# -- the registry
ACCOUNTS: Final = BOOK.define("gauge", "releve_accounts", "Accounts by state.", state=AccountState)
FRESHNESS: Final = BOOK.define(
    "gauge",
    "releve_freshness_ratio",
    "Share of the active accounts whose yesterday (Europe/Paris) is stored whole; none without an active account.",
    series=Series,
)
NOTICES: Final = BOOK.define("gauge", "releve_notices_waiting", "Notices to owners that are still to be delivered.")
REPAIR_DUE: Final = BOOK.define(
    "gauge",
    "releve_repair_accounts_due",
    "Active accounts with open days whose turn to be asked for again has come.",
    series=Series,
)
CORRECTED: Final = BOOK.define(
    "gauge",
    "releve_corrections_last_day",
    "Readings that the supplier changed within the last 24 hours, each change once.",
    series=Series,
)
SURPRISES: Final = BOOK.define(
    "gauge",
    "releve_quarantine_surprises",
    "What nobody has cleared and the supplier sent within the last 24 hours: for the first time, or as before.",
    surprise=("new", "known"),
)
NIGHT_CALLS: Final = BOOK.define(
    "gauge", "releve_night_calls", "Calls that a night takes of the accounts as they are, by the policy that holds."
)
NIGHT_CALLS_LIMIT: Final = BOOK.define(
    "gauge",
    "releve_night_calls_limit",
    "Calls that the quota lets a night make beside the other lanes; missing where there is no limit.",
)

# -- Redis
GATE_OPEN: Final = BOOK.define("gauge", "releve_gate_open", "1 while calls may pass, 0 while the supplier bars us.")
GATE_OPENS_IN: Final = BOOK.define(
    "gauge", "releve_gate_opens_in_seconds", "Time to the gate's opening; 0 where it is open."
)
PERMITS_USED: Final = BOOK.define("gauge", "releve_permits_used", "Permits taken within the last hour.", api=())
PERMITS_USED_BY_LANE: Final = BOOK.define(
    "gauge",
    "releve_permits_used_by_lane",
    "Permits taken within the last hour by each kind of work, in the order of treatment when the quota is short.",
    api=(),
    lane=QuotaLane,
)
PERMITS_LIMIT: Final = BOOK.define(
    "gauge", "releve_permits_limit", "Permits that an hour has; missing where there is no limit.", api=()
)
GATE_PACE: Final = BOOK.define(
    "gauge",
    "releve_gate_pace_ratio",
    "Share of the full pace that the gate lets through: 0 closed, 1 open, between them after an opening.",
)
INCIDENT_OPEN: Final = BOOK.define(
    "gauge",
    "releve_incident_open",
    "1 while an incident of this kind is open: the same failure on many accounts, so the supplier's.",
    kind=IncidentKind,
)
NIGHT_FED: Final = BOOK.define(
    "gauge", "releve_night_fed", "1 when the newest night that was due has published all of its work."
)
NIGHT_COMPLETE: Final = BOOK.define(
    "gauge", "releve_night_complete", "1 when all accounts of the newest night that was due are done."
)
BEAT_PUBLISHED: Final = BOOK.define(
    "gauge", "releve_beat_last_publish_timestamp_seconds", "When beat published something last; missing if never."
)
BEAT_TICK: Final = BOOK.define(
    "gauge",
    "releve_beat_last_tick_timestamp_seconds",
    "When a worker last did what beat sends every minute; missing if never.",
)
WORKERS: Final = BOOK.define(
    "gauge",
    "releve_workers",
    "Workers of the last quarter of an hour: heard of within a minute, or silent since.",
    state=("heard", "silent"),
)
RESTARTS: Final = BOOK.define(
    "counter", "releve_watchdog_restarts_total", "Restarts of workers that their watchdog found deaf."
)
AUDIT_AT: Final = BOOK.define(
    "gauge",
    "releve_audit_last_timestamp_seconds",
    "When the stored documents of a sample were last held against one another; missing if not within a week.",
)
AUDIT_ACCOUNTS: Final = BOOK.define(
    "gauge", "releve_audit_accounts", "Accounts that the last audit looked at; missing where there was none."
)
AUDIT_AT_FAULT: Final = BOOK.define(
    "gauge",
    "releve_audit_accounts_at_fault",
    "Accounts of the last audit whose documents do not agree; missing where there was none.",
)
AUDIT_FINDINGS: Final = BOOK.define(
    "gauge",
    "releve_audit_findings",
    "Documents that the last audit found wrong, by the law they break and the likely cause.",
    law=Law,
    cause=Cause,
)

# -- the broker
ANSWERING: Final = BOOK.define("gauge", "releve_workers_answering", "Workers that answer a ping through the broker.")
QUEUE_MESSAGES: Final = BOOK.define("gauge", "releve_queue_messages", "Messages that wait in a queue.", queue=())
QUEUE_AGE: Final = BOOK.define(
    "gauge",
    "releve_queue_oldest_message_age_seconds",
    "Age of the message that is next in its queue, 0 where none waits; on Redis alone, RabbitMQ lets nobody look.",
    queue=(),
)


# Asks every part of the fleet how it stands when Prometheus asks us; a silent part costs no more than its own word.

log = logging.getLogger("releve.metrics")

FRESH_S: Final = 10.0
PATIENCE_S: Final = 6.0  # Prometheus itself waits 10 s by default

Values = Mapping[tuple[str, ...], float]  # by the values of the labels, () where there are none
Told = Iterable[tuple[Definition, Values]]


class FleetCollector(Collector):
    """``parts`` by name; each gives what it tells, or raises WorkerError.  Safe with threads.

    Parts are asked at once, each in a thread; one that has not answered in ``patience_s`` counts as down, and is
    not asked again before it has.
    """

    def __init__(
        self,
        parts: Mapping[str, Callable[[], Told]],
        *,
        fresh_s: float = FRESH_S,
        patience_s: float = PATIENCE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parts = parts
        self._fresh_s = fresh_s
        self._patience_s = patience_s
        self._clock = clock
        self._threads = ThreadPool(len(parts))  # of daemons: one that is still asking holds nobody back at the end
        self._asked: dict[str, Future[list[Metric]]] = {}
        self._lock = threading.Lock()
        self._kept: list[Metric] = []
        self._kept_at: float | None = None

    def describe(self) -> Iterable[Metric]:
        """Nothing: to find out would mean to ask."""
        return ()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            if self._kept_at is None or self._clock() - self._kept_at >= self._fresh_s:
                self._kept, self._kept_at = self._ask(), self._clock()
            return list(self._kept)

    def close(self) -> None:
        self._threads.terminate()

    def _ask(self) -> list[Metric]:
        for name, part in self._parts.items():
            if name not in self._asked:
                self._asked[name] = self._submit(part)
        answered, _ = wait(self._asked.values(), timeout=self._patience_s)
        told: list[Metric] = []
        up: dict[tuple[str, ...], float] = {}
        for name, asked in list(self._asked.items()):
            up[name,] = 0.0
            if asked not in answered:
                log.warning("part=%s has not answered in %.0f s", name, self._patience_s)
                continue
            del self._asked[name]
            if (error := asked.exception()) is not None:
                log.warning("part=%s can't be asked: %s", name, _in_words(error))
                continue
            told += asked.result()
            up[name,] = 1.0
        return [to_metric(UP, up), *told]

    def _submit(self, part: Callable[[], Told]) -> Future[list[Metric]]:
        asked: Future[list[Metric]] = Future()
        self._threads.apply_async(_metrics_of, (part,), callback=asked.set_result, error_callback=asked.set_exception)
        return asked


def to_metric(definition: Definition, values: Values) -> Metric:
    family = (CounterMetricFamily if definition.kind == "counter" else GaugeMetricFamily)(
        definition.name, definition.help, labels=list(definition.labels)
    )
    for labels, value in values.items():
        family.add_metric(labels, value)
    return family


def _metrics_of(part: Callable[[], Told]) -> list[Metric]:
    return [to_metric(definition, values) for definition, values in part()]


def _in_words(error: BaseException) -> str:
    return str(error) if isinstance(error, WorkerError) else f"unforeseen {type(error).__name__}, a bug of ours"
