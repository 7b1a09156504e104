"""Base classes of our tasks: which errors are expected, when a step is retried, and what a failed window records."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from celery import Task, current_app
from celery.worker.request import Request

from tasks.onward import OnwardTask
from worker.domain.fleet.backoff import LONGEST_DELAY_S, MAX_RETRIES, retry_delay_s
from worker.domain.fleet.lanes import current_lane
from worker.domain.measures.messages import WindowJob, job_of, window_fields
from worker.errors import IncidentOpen, RateLimited, TransientError, WorkerError
from worker.logs import fields
from worker.ops.broker import broker_errors, queue_lengths
from worker.runtime.current import get_runtime

log = logging.getLogger("releve.tasks")

# Celery's delays on RabbitMQ are whole seconds: a shorter one is an error there.
SHORTEST_COUNTDOWN_S: Final = 1.0


class WindowTask(OnwardTask):
    """A step of a window's chain.  Its first argument is the window, or the message of the step before."""

    abstract = True
    acks_late = True
    max_retries = MAX_RETRIES
    # Expected errors: one line in the log, no traceback.
    throws = (WorkerError,)
    # A log must contain no readings.
    resultrepr_maxsize = 0
    Request = "tasks.base:QuietRequest"

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Publish as Task does; logs, events and Flower show a message's window, not the readings that it carries."""
        if args:
            options["argsrepr"] = _window_line(args)
        return super().apply_async(args, kwargs, *rest, **options)

    def retry_later(self, error: TransientError) -> NoReturn:
        """Retry after a countdown, or raise the error where the wait is long: then the reconciler publishes again.

        An incident is left to the reconciler too: a message that waits for its end costs memory, and the window is
        due again then anyway.
        """
        if isinstance(error, IncidentOpen):
            raise error
        delay_s = retry_delay_s(self.request.retries, error.retry_after_s, random.random)
        if delay_s > 1.2 * LONGEST_DELAY_S:
            raise error
        delay_s = max(delay_s, SHORTEST_COUNTDOWN_S)
        self._count_as_waiting(delay_s)
        if isinstance(error, RateLimited):
            # Waiting for a permit is not a failed attempt.
            raise self.retry(exc=error, countdown=delay_s, max_retries=None)
        raise self.retry(exc=error, countdown=delay_s)

    def _count_as_waiting(self, delay_s: float) -> None:
        """Count the message as waiting in its queue: no broker shows a message that waits for its countdown."""
        try:
            get_runtime().progress.park(current_lane(), str(self.request.id), delay_s)
        except WorkerError as outage:
            log.debug("not counted as waiting: %s", outage)

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Record why the chain ends here, so that the account shows it and the window is tried again in time."""
        error = exc if isinstance(exc, WorkerError) else WorkerError(f"unforeseen {type(exc).__name__}")
        job = _job_from(args, kwargs)
        try:
            get_runtime().results.record_failure(job, error)
        except WorkerError as outage:
            # Redis or the registry is down: the claim expires by itself.
            extra = fields(**window_fields(job), outcome="failed", code=error.code or None, reason=str(error))
            log.warning("window failed, and could not be recorded: %s", outage, extra=extra)


class ControlTask(Task):  # type: ignore[type-arg]
    """A task that decides what is due.  Running it again is harmless, so a failure is left to the next run."""

    abstract = True
    acks_late = True
    max_retries = 0
    throws = (WorkerError,)


def _window_line(args: Sequence[Any]) -> str:
    if isinstance(args[0], dict):
        return "{account_id} {series} {start}/{end} {run_id}".format_map(args[0])
    return " ".join(map(str, args))


def _job_from(args: Any, kwargs: Any) -> WindowJob:
    if isinstance(args[0], dict):
        return job_of(cast(WindowJob, args[0]))
    account_id, series, start, end = args
    return WindowJob(
        account_id=account_id,
        series=series,
        start=start,
        end=end,
        run_id=kwargs["run_id"],
        claim=kwargs.get("claim"),
    )


if TYPE_CHECKING:
    from celery.worker.request import _InfoDict


class QuietRequest(Request):
    """A request that shows the short form of its arguments only: messages between steps carry readings."""

    def info(self, safe: bool = True) -> _InfoDict:
        """Describe the request without its arguments, whatever the caller asks for."""
        return super().info(safe=True)


def queue_length(name: str) -> int:
    """Return the messages that wait in this queue, or came out of it and wait for a permit or a retry."""
    queues = [queue for queue in current_app.conf.task_queues if queue.name == name]
    with broker_errors(), current_app.connection_or_acquire() as connection:
        waiting = queue_lengths(connection, queues)[name]
    return waiting + get_runtime().progress.count_parked(name)
