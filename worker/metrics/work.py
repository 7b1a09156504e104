"""What each worker counts of its own work; told at its own endpoint (``worker.endpoint``)."""

from __future__ import annotations

from typing import Final

from worker.domain.answers import Verdict
from worker.domain.fleet.incidents import Kind
from worker.domain.fleet.lanes import Lane
from worker.domain.measures.readings import Series
from worker.errors import (
    AccountError,
    DataError,
    Held,
    OperatorFault,
    RateLimited,
    StoreUnavailable,
    TransientError,
    UnknownAccount,
    WorkerError,
)
from worker.metrics.definitions import Book

BOOK: Final = Book()

STORED: Final = "stored"
UNFORESEEN: Final = "unforeseen"
_KINDS: Final[tuple[tuple[type[WorkerError], str], ...]] = (  # the first that fits
    (Held, "held"),
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
    answer=(*Verdict, OTHER, TOKEN_REFUSED, *(kind for kind in ERROR_KINDS if kind not in _OF_OURS)),
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

INCIDENTS: Final = BOOK.counter("releve_incidents_total", "Incidents that this worker was the first to see.", kind=Kind)
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
