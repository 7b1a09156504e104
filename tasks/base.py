"""What all our tasks share: which errors are expected, and what a given-up window leaves behind."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from typing import Any, Final, NoReturn, cast

from celery import Task

from tasks.onward import OnwardTask
from worker.domain.fleet.backoff import LONGEST_DELAY_S, retry_delay_s
from worker.domain.fleet.lanes import current_lane
from worker.domain.measures.messages import WindowJob, origin_of
from worker.errors import IncidentOpen, RateLimited, TransientError, WorkerError
from worker.logs import fields
from worker.runtime.process import get_runtime
from worker.sync.results import window_fields

log = logging.getLogger("releve.tasks")

MAX_RETRIES: Final = 4
SHORTEST_COUNTDOWN_S: Final = 1.0  # Celery's delays on RabbitMQ are whole seconds: a shorter one is an error there


class WindowTask(OnwardTask):
    """A step of a window's chain.  Its first argument is the window, or what the step before handed on."""

    abstract = True
    acks_late = True
    max_retries = MAX_RETRIES
    throws = (WorkerError,)  # foreseen: one line in the log, no traceback
    resultrepr_maxsize = 0  # what a household used is no line for a log
    Request = "tasks.requests:QuietRequest"

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """As Task's; logs, events and Flower show a message's window, not the readings that it carries."""
        if args:
            options["argsrepr"] = _window_line(args)
        return super().apply_async(args, kwargs, *rest, **options)

    def again(self, error: TransientError) -> NoReturn:
        """Try again in a while; a wait longer than a countdown should last is left to the reconciler.

        So is an incident: a message that waits for its end costs memory, and it is due again then anyway.
        """
        if isinstance(error, IncidentOpen):
            raise error
        delay_s = retry_delay_s(self.request.retries, error.retry_after_s, random.random)
        if delay_s > 1.2 * LONGEST_DELAY_S:
            raise error
        delay_s = max(delay_s, SHORTEST_COUNTDOWN_S)
        self._note_parked(delay_s)
        if isinstance(error, RateLimited):  # waiting for a permit is no failed try
            raise self.retry(exc=error, countdown=delay_s, max_retries=None)
        raise self.retry(exc=error, countdown=delay_s)

    def _note_parked(self, delay_s: float) -> None:
        """Whoever paces himself by what waits must see it: no queue shows a message that waits for its time."""
        try:
            get_runtime().state.park(current_lane(), str(self.request.id), delay_s)
        except WorkerError as unwell:
            log.debug("not noted as waiting: %s", unwell)

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """The chain ends here: note why, so that the account shows it and the window is tried again in time."""
        error = exc if isinstance(exc, WorkerError) else WorkerError(f"unforeseen {type(exc).__name__}")
        origin = _origin(args, kwargs)
        try:
            get_runtime().journal.failed(origin, error)
        except WorkerError as unwell:  # Redis or the registry is down: the claim expires by itself
            told = fields(**window_fields(origin), outcome="failed", code=error.code or None, reason=str(error))
            log.warning("window failed, which could not be noted: %s", unwell, extra=told)


class ControlTask(Task):  # type: ignore[type-arg]
    """Decides what is due.  Doing it again is harmless, so a fault is left to the next tick."""

    abstract = True
    acks_late = True
    max_retries = 0
    throws = (WorkerError,)


def _window_line(args: Sequence[Any]) -> str:
    if isinstance(args[0], dict):
        return "{account_id} {series} {start}/{end} {run_id}".format_map(args[0])
    return " ".join(map(str, args))


def _origin(args: Any, kwargs: Any) -> WindowJob:
    if isinstance(args[0], dict):
        return origin_of(cast(WindowJob, args[0]))
    account_id, series, start, end = args
    return WindowJob(
        account_id=account_id,
        series=series,
        start=start,
        end=end,
        run_id=kwargs["run_id"],
        claim=kwargs.get("claim"),
    )
