"""The metrics of a worker's own work; ``worker.ops.task_signals`` serves them.

The metrics of the whole fleet are in ``worker.ops.fleet_metrics``.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from worker.domain.answers import AnswerKind
from worker.domain.incident import IncidentKind
from worker.domain.lanes import Lane
from worker.domain.series import Series
from worker.errors import ERROR_CLASSES, WorkerError

MetricKind = Literal["counter", "gauge", "histogram"]
# For the reference page: where a label's values come from, if the label's definition does not list them.
OPEN_LABELS: Final[Mapping[str, str]] = {
    "output": "the kinds of outputs in `releve outputs add --help`",
    "api": "the supplier's APIs that have a quota: the preset's name, or one name for each API",
    "queue": "the queues of `config/celery_options.py`",
    "task": "the tasks' names, `tasks.…`",
}
REGISTRY: Final = CollectorRegistry()  # Ours alone: Flower's metrics are in the library's default registry.
disable_created_metrics()  # type: ignore[no-untyped-call]  # Nobody needs the start time of each series.


@dataclass(frozen=True, slots=True)
class Definition:
    """The definition of a metric, from which the metric and its entry on the reference page are made.

    ``name``: the name in Prometheus, without the suffixes of a histogram. ``labels``: the possible values of each
    label; empty for a label in OPEN_LABELS.
    """

    kind: MetricKind
    name: str
    help: str
    labels: Mapping[str, tuple[str, ...]]


class MetricRegistry:
    """Creates the metrics of one endpoint, and keeps their definitions in the order of the reference page."""

    def __init__(self) -> None:
        self.definitions: list[Definition] = []

    def define(self, kind: MetricKind, name: str, help_text: str, /, **labels: Iterable[str]) -> Definition:
        """Record a definition without creating a metric."""
        listed = {label: tuple(str(value) for value in values) for label, values in labels.items()}
        definition = Definition(kind, name, help_text, listed)
        self.definitions.append(definition)
        return definition

    def counter(self, name: str, help_text: str, /, **labels: Iterable[str]) -> Counter:
        """Create a counter that starts at 0 for every value of its labels.

        Prometheus computes increases between samples, so a series that appears later would lose its first count.
        """
        definition = self.define("counter", name, help_text, **labels)
        counter = Counter(name, help_text, list(definition.labels), registry=REGISTRY)
        if definition.labels and all(definition.labels.values()):
            for values in itertools.product(*definition.labels.values()):
                counter.labels(*values)
        return counter

    def gauge(self, name: str, help_text: str, /, **labels: Iterable[str]) -> Gauge:
        """Create a gauge whose values are summed over the running processes of a worker."""
        definition = self.define("gauge", name, help_text, **labels)
        return Gauge(name, help_text, list(definition.labels), registry=REGISTRY, multiprocess_mode="livesum")

    def histogram(self, name: str, help_text: str, buckets: Sequence[float], /, **labels: Iterable[str]) -> Histogram:
        """Create a histogram. ``buckets``: the upper bounds, in the unit that the name ends with."""
        definition = self.define("histogram", name, help_text, **labels)
        return Histogram(name, help_text, list(definition.labels), buckets=buckets, registry=REGISTRY)


WORKER_METRICS: Final = MetricRegistry()
STORED: Final = "stored"
ERROR_KINDS: Final = tuple(dict.fromkeys(error_class.kind for error_class in ERROR_CLASSES))
_OWN_KINDS: Final = ("held", "store_unavailable", "removed", "worker_lost")  # No supplier's answer causes these.
NO_ANSWER: Final = "none"
STATUSES: Final = ("2xx", "3xx", "4xx", "429", "5xx", NO_ANSWER)
TOKEN_REFUSED: Final = "token_refused"  # noqa: S105 - It is a kind of answer, no secret.
OTHER: Final = "other"  # A good answer without measures, for example about consents.
WINDOWS: Final = WORKER_METRICS.counter(
    "releve_windows_total",
    "Windows that ended, by outcome: stored, or the kind of failure. A failed window counts at each try.",
    outcome=(STORED, *ERROR_KINDS),
    series=Series,
)
READINGS: Final = WORKER_METRICS.counter(
    "releve_readings_stored_total", "Readings received in stored windows, new or already known.", series=Series
)
DROPPED: Final = WORKER_METRICS.counter(
    "releve_readings_dropped_total", "Unusable values that were left out of stored windows.", series=Series
)
DOCUMENTS: Final = WORKER_METRICS.counter(
    "releve_documents_total",
    "Documents of readings and totals in stored windows, by change.",
    change=("created", "updated", "removed", "unchanged"),
    series=Series,
)
CORRECTIONS: Final = WORKER_METRICS.counter(
    "releve_corrections_recorded_total",
    "Corrections: readings that replace a stored value. A window that is written again counts again.",
    series=Series,
)
CALLS: Final = WORKER_METRICS.counter(
    "releve_supplier_calls_total",
    "Requests to the supplier, by status class of the answer; `none` means no answer.",
    api=("data", "token"),
    status=STATUSES,
    lane=Lane,
)
CALL_SECONDS: Final = WORKER_METRICS.histogram(
    "releve_supplier_call_seconds",
    "Time from a request to the first bytes of the supplier's answer.",
    (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
    api=("data", "token"),
)
ANSWERS: Final = WORKER_METRICS.counter(
    "releve_supplier_answers_total",
    "Answers of the supplier by meaning, without token requests.",
    answer=(*AnswerKind, OTHER, TOKEN_REFUSED, *(kind for kind in ERROR_KINDS if kind not in _OWN_KINDS)),
    lane=Lane,
)
PERMIT_WAIT: Final = WORKER_METRICS.histogram(
    "releve_permit_wait_seconds",
    "Time that a call waited for its permit from the shared quota. Calls without a permit do not count.",
    (0.001, 0.05, 0.1, 0.25, 0.5, 1, 2),
    lane=Lane,
)
PERMITS_REFUSED: Final = WORKER_METRICS.counter(
    "releve_permits_refused_total", "Calls postponed because no permit was available soon.", lane=Lane
)
PERMITS_GIVEN_BACK: Final = WORKER_METRICS.counter(
    "releve_permits_released_total",
    "Permits whose call was never sent, because there was no connection or a rate-limit pause began.",
)
GATE_CLOSINGS: Final = WORKER_METRICS.counter(
    "releve_gate_closings_total", "Answers of the supplier that began a rate-limit pause for all workers."
)
INCIDENTS: Final = WORKER_METRICS.counter(
    "releve_incidents_total", "Incidents that this worker opened.", kind=IncidentKind
)
WINDOWS_HELD: Final = WORKER_METRICS.counter(
    "releve_windows_held_total", "Windows that ended without a call because of an open incident.", series=Series
)
STORE_SECONDS: Final = WORKER_METRICS.histogram(
    "releve_store_request_seconds",
    "Time of one operation of the measure store. A large write may take several requests.",
    (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
    operation=("read", "write", "erase", "create"),
)
STORE_ERRORS: Final = WORKER_METRICS.counter(
    "releve_store_errors_total",
    "Operations that failed because a store was unreachable or refused them.",
    store=("measures", "registry", "redis"),
)
OUTPUT_SERIES: Final = WORKER_METRICS.counter(
    "releve_output_series_sent_total", "Changed series of accounts that an output accepted.", output=()
)
OUTPUT_FAILURES: Final = WORKER_METRICS.counter(
    "releve_output_failures_total", "Failed deliveries to an output. They are retried.", output=()
)
TASK_SECONDS: Final = WORKER_METRICS.histogram(
    "releve_task_seconds",
    "Run time of a task, for each try.",
    (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    task=(),
)
TASK_WAIT: Final = WORKER_METRICS.histogram(
    "releve_task_wait_seconds",
    "Time that a message waited in its queue: from its publication, or the end of its countdown, to its task's start.",
    (0.05, 0.25, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600),
    lane=Lane,
)
TASK_RETRIES: Final = WORKER_METRICS.counter("releve_task_retries_total", "Retries of tasks.", task=())
TASK_FAILURES: Final = WORKER_METRICS.counter(
    "releve_task_failures_total",
    "Tasks that failed for good. The error `unforeseen` is a bug in Relève.",
    task=(),
    error=ERROR_KINDS,
)
MESSAGES_GIVEN_BACK: Final = WORKER_METRICS.counter(
    "releve_messages_requeued_total",
    "Messages of dead or disconnected workers that were put back into their queues (Redis only).",
)
TASKS_RUNNING: Final = WORKER_METRICS.gauge("releve_tasks_running", "Running tasks.", lane=Lane)


def error_kind(error: BaseException) -> str:
    """Return the kind of a WorkerError, one of ERROR_KINDS; for any other exception, return ``unforeseen``."""
    return (error if isinstance(error, WorkerError) else WorkerError).kind
