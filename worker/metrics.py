"""What each worker counts of its own work; told at its own endpoint (``worker.ops.metrics_endpoint``)."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from worker.domain.fleet.incidents import IncidentKind
from worker.domain.fleet.lanes import Lane
from worker.domain.measures.answers import AnswerKind
from worker.domain.measures.readings import Series
from worker.errors import (
    AccountError,
    DataError,
    IncidentOpen,
    OperatorFault,
    RateLimited,
    StoreUnavailable,
    TransientError,
    UnknownAccount,
    WorkerError,
)

MetricKind = Literal["counter", "gauge", "histogram"]

# Of a label whose values are not listed, where they come from.
OPEN_LABELS: Final[Mapping[str, str]] = {
    "api": "the supplier's interfaces as quotas tell them apart: one name a preset, or one for each of its APIs",
    "queue": "the queues of `config/celery_options.py`",
    "task": "the tasks' names, `tasks.…`",
}
_SUFFIXES: Final[Mapping[MetricKind, tuple[str, ...]]] = {
    "counter": ("",),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count"),
}

REGISTRY: Final = CollectorRegistry()  # ours alone: Flower counts in the library's own


@dataclass(frozen=True, slots=True)
class Definition:
    """``name`` is what Prometheus sees, less a histogram's suffixes; ``labels``: their values, () for an open one."""

    kind: MetricKind
    name: str
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def exposed(self) -> tuple[str, ...]:
        """The names under which its samples come."""
        return tuple(self.name + suffix for suffix in _SUFFIXES[self.kind])


def define(kind: MetricKind, name: str, told: str, labels: Mapping[str, Iterable[str]]) -> Definition:
    """Raises ValueError for a label without values that OPEN_LABELS doesn't explain."""
    listed = {label: tuple(str(value) for value in values) for label, values in labels.items()}
    if unknown := [label for label, values in listed.items() if not values and label not in OPEN_LABELS]:
        raise ValueError(f"{name}: say which values {unknown} can take")
    return Definition(kind, name, told, listed)


class MetricRegistry:
    """The definitions of one endpoint, in the order of its page; also makes what is counted."""

    def __init__(self) -> None:
        self.definitions: list[Definition] = []

    def define(self, kind: MetricKind, name: str, told: str, /, **labels: Iterable[str]) -> Definition:
        definition = define(kind, name, told, labels)
        self.definitions.append(definition)
        return definition

    def counter(self, name: str, told: str, /, **labels: Iterable[str]) -> Counter:
        """Begins at 0 for every value of its labels: of a series that appears, the first count would go unseen."""
        definition = self.define("counter", name, told, **labels)
        made = Counter(name, told, list(definition.labels), registry=REGISTRY)
        if definition.labels and all(definition.labels.values()):
            for values in itertools.product(*definition.labels.values()):
                made.labels(*values)
        return made

    def gauge(self, name: str, told: str, /, **labels: Iterable[str]) -> Gauge:
        """Added up over the living processes of a worker."""
        definition = self.define("gauge", name, told, **labels)
        return Gauge(name, told, list(definition.labels), registry=REGISTRY, multiprocess_mode="livesum")

    def histogram(self, name: str, told: str, buckets: Sequence[float], /, **labels: Iterable[str]) -> Histogram:
        definition = self.define("histogram", name, told, **labels)
        return Histogram(name, told, list(definition.labels), buckets=buckets, registry=REGISTRY)


BOOK: Final = MetricRegistry()

STORED: Final = "stored"
UNFORESEEN: Final = "unforeseen"
_KINDS: Final[tuple[tuple[type[WorkerError], str], ...]] = (  # the first that fits
    (IncidentOpen, "held"),
    (RateLimited, "rate_limited"),
    (StoreUnavailable, "store_unavailable"),
    (TransientError, "supplier_unavailable"),
    (UnknownAccount, "removed"),
    (AccountError, "action_needed"),
    (OperatorFault, "operator_fault"),
    (DataError, "data_error"),
)
ERROR_KINDS: Final = (*dict.fromkeys(kind for _, kind in _KINDS), UNFORESEEN)
_OF_OURS: Final = ("held", "store_unavailable", "removed")  # what no supplier can say
NO_ANSWER: Final = "none"
STATUSES: Final = ("2xx", "3xx", "4xx", "429", "5xx", NO_ANSWER)
TOKEN_REFUSED: Final = "token_refused"  # noqa: S105 - what an answer means, no secret
OTHER: Final = "other"  # well-formed, and no measures: consents, the application's own affairs

# -- windows and what they brought
WINDOWS: Final = BOOK.counter(
    "releve_windows_total",
    "Windows that came to an end: stored, or given up until they are due again and why.",
    outcome=(STORED, *ERROR_KINDS),
    series=Series,
)
READINGS: Final = BOOK.counter(
    "releve_readings_stored_total", "Readings in the answers of stored windows, new or known.", series=Series
)
DROPPED: Final = BOOK.counter(
    "releve_readings_dropped_total", "Values of stored windows that were kept out for being unusable.", series=Series
)
DOCUMENTS: Final = BOOK.counter(
    "releve_documents_total",
    "Documents of stored windows, readings and totals alike, by what had to be done.",
    change=("created", "updated", "unchanged"),
    series=Series,
)
CORRECTIONS: Final = BOOK.counter(
    "releve_corrections_noted_total",
    "Readings about to take the place of other values; again where the window is written again.",
    series=Series,
)

# -- the supplier
CALLS: Final = BOOK.counter(
    "releve_supplier_calls_total",
    "Requests sent to the supplier, by the class of the answer's status; `none` where no answer came.",
    api=("data", "token"),
    status=STATUSES,
    lane=Lane,
)
CALL_SECONDS: Final = BOOK.histogram(
    "releve_supplier_call_seconds",
    "From sending a request to the head of the supplier's answer.",
    (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20),
    api=("data", "token"),
)
ANSWERS: Final = BOOK.counter(
    "releve_supplier_answers_total",
    "What the supplier's answers meant, token requests apart.",
    answer=(*AnswerKind, OTHER, TOKEN_REFUSED, *(kind for kind in ERROR_KINDS if kind not in _OF_OURS)),
    lane=Lane,
)
PERMIT_WAIT: Final = BOOK.histogram(
    "releve_permit_wait_seconds",
    "How long a call waited for its permit of the shared quota, where it got one.",
    (0.001, 0.05, 0.1, 0.25, 0.5, 1, 2),
    lane=Lane,
)
PERMITS_REFUSED: Final = BOOK.counter(
    "releve_permits_refused_total", "Calls put off because no permit would come soon.", lane=Lane
)
PERMITS_GIVEN_BACK: Final = BOOK.counter(
    "releve_permits_given_back_total", "Permits whose call was never sent: no connection, or a gate closed meanwhile."
)
GATE_CLOSINGS: Final = BOOK.counter(
    "releve_gate_closings_total", "Answers of the supplier that closed the gate for all workers."
)

INCIDENTS: Final = BOOK.counter(
    "releve_incidents_total", "Incidents that this worker was the first to see.", kind=IncidentKind
)
HELD: Final = BOOK.counter(
    "releve_windows_held_total", "Windows that ended without a call, for an incident was open.", series=Series
)

# -- stores
STORE_SECONDS: Final = BOOK.histogram(
    "releve_store_request_seconds",
    "Time of one operation of the measure store; a large write may take several requests.",
    (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 30),
    operation=("read", "write", "erase", "create"),
)
STORE_ERRORS: Final = BOOK.counter(
    "releve_store_errors_total",
    "Operations that failed because a store could not be reached or refused.",
    store=("measures", "registry", "redis"),
)

# -- tasks
TASK_SECONDS: Final = BOOK.histogram(
    "releve_task_seconds",
    "How long a task ran, once for each try.",
    (0.01, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120),
    task=(),
)
TASK_WAIT: Final = BOOK.histogram(
    "releve_task_wait_seconds",
    "From when a message was published, or its countdown was over, to the start of its task.",
    (0.05, 0.25, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600),
    lane=Lane,
)
TASK_RETRIES: Final = BOOK.counter("releve_task_retries_total", "Tries of a task after the first.", task=())
TASK_FAILURES: Final = BOOK.counter(
    "releve_task_failures_total", "Tasks that were given up; `unforeseen` is a bug of ours.", task=(), error=ERROR_KINDS
)
GIVEN_BACK: Final = BOOK.counter(
    "releve_messages_given_back_total", "Messages of workers that died, put back into their queues; on Redis alone."
)
TASKS_RUNNING: Final = BOOK.gauge("releve_tasks_running", "Tasks that run at this moment.", lane=Lane)


def kind_of(error: BaseException) -> str:
    """The one of ERROR_KINDS that this error is."""
    return next((kind for errors, kind in _KINDS if isinstance(error, errors)), UNFORESEEN)
