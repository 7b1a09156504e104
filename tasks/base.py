"""Base classes of tasks: which errors are expected, when a step is retried, and what is recorded when a window fails.

Readings are sealed between steps, so that neither the broker nor Flower can read them.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from billiard.exceptions import WorkerLostError
from celery import Task
from celery.worker.request import Request

from worker.domain.messages import SealedMessage, WindowJob, job_of, window_fields
from worker.domain.retry import LONGEST_DELAY_S, MAX_RETRIES, retry_delay_s
from worker.errors import (
    IncidentOpen,
    OperatorFault,
    RateLimited,
    StoreUnavailable,
    TransientError,
    WorkerError,
)
from worker.logs import fields
from worker.ops.broker import WORKER_ID, to_worker_error
from worker.runtime import current

if TYPE_CHECKING:
    from celery.worker.request import _InfoDict


log = logging.getLogger("releve.tasks")
# Celery's delays on RabbitMQ are whole seconds, and a delay below one second is an error there.
SHORTEST_COUNTDOWN_S: Final = 1.0
_WAITS: Final = "releve_waits"  # A message header: how often the message has waited for a permit.


class WindowTask(Task):  # type: ignore[type-arg]
    """A step of a window's chain.  Its first argument is the window, or the sealed message of the previous step.

    A step that keeps killing its workers is given up; to notice this, its starts are counted (``step_of``).
    """

    abstract = True
    acks_late = True
    max_retries = MAX_RETRIES
    # Expected errors are logged in one line, without a traceback.
    throws = (WorkerError,)
    # With this, no log line quotes a sealed message.
    resultrepr_maxsize = 0
    Request = "tasks.base:QuietRequest"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the step, and retry it later after a TransientError."""
        try:
            with current.sync().steps.running(self.step_of(args, kwargs), _this_process()):
                return self.run(*args, **kwargs)
        except TransientError as error:
            self.retry_later(error)

    def step_of(self, args: Any, kwargs: Any) -> str:
        """Return the name under which a step's starts are counted. All messages of the step give the same name."""
        job = _job_from(args, kwargs)
        return f"{job['account_id']}:{job['series']}:{self.name}:{job['claim'] or job['run_id']}"

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Publish like ``Task``; logs, events and Flower show a message's window, not its sealed readings."""
        if args:
            options["argsrepr"] = _window_line(args)
        return super().apply_async(args, kwargs, *rest, **options)

    def retry_later(self, error: TransientError) -> NoReturn:
        """Retry after a countdown. If the wait is long, raise the error: the reconciler will publish the window again.

        The error is also raised during an incident: a message that waits for the incident's end would cost memory, and
        after the incident the window is due again anyway.
        """
        if isinstance(error, IncidentOpen):
            raise error
        if (error.retry_after_s or 0.0) > 1.2 * LONGEST_DELAY_S:
            raise error
        retries, waits = self.request.retries, self.request.get(_WAITS) or 0
        if isinstance(error, RateLimited):
            # A wait for a permit isn't counted as a failure: it raises the limit of retries too. But its delay grows
            # with all retries so far, failures and waits.
            delay_s, waits = retry_delay_s(retries, error.retry_after_s, random.random), waits + 1
        else:
            delay_s = retry_delay_s(retries - waits, error.retry_after_s, random.random)
        delay_s = max(delay_s, SHORTEST_COUNTDOWN_S)
        headers: Any = {_WAITS: waits}
        # Celery counts failures and waits together in ``retries``.
        raise self.retry(exc=error, countdown=delay_s, max_retries=MAX_RETRIES + waits, headers=headers)

    def on_failure(self, exc: Exception, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Record why the chain ends here, so that the account shows it and the window is tried again in time."""
        error, job = to_worker_error(exc), _job_from(args, kwargs)
        try:
            current.sync().results.record_failure(job, error)
        except WorkerError as outage:
            # Redis or the registry is down: the claim expires by itself.
            extra = fields(**window_fields(job), outcome="failed", code=error.code or None, reason=str(error))
            log.warning("window failed, and could not be recorded: %s", outage, extra=extra)


def seal(message: WindowJob, step: str) -> SealedMessage:
    """Return the message for the broker: compressed, then sealed, because sealed bytes don't compress."""
    job = job_of(message)
    content = zlib.compress(json.dumps(message, separators=(",", ":")).encode())
    sealed = current.stores().keys.broker.seal_bytes(content, _place_of(job, step))
    return SealedMessage(**job, sealed=base64.urlsafe_b64encode(sealed).decode())


def unseal(message: SealedMessage, step: str) -> Any:
    """Return the message that ``seal`` was given for this step.

    Raises StoreUnavailable if no key fits: no account is at fault, and the window is published again later.
    """
    try:
        sealed = base64.urlsafe_b64decode(message["sealed"])
        content = current.stores().keys.broker.unseal_bytes(sealed, _place_of(job_of(message), step))
        return json.loads(zlib.decompress(content))
    except (OperatorFault, ValueError):
        raise StoreUnavailable(
            "a message between two steps can't be decrypted: give all workers the same RELEVE_TOKEN_KEYS"
        ) from None


class ControlTask(Task):  # type: ignore[type-arg]
    """A task that decides what is due.  Running it again is harmless, so a failure is left to the next run.

    Starts are counted only for redelivered messages, so that the tasks of an idle fleet write nothing.
    """

    abstract = True
    acks_late = True
    max_retries = 0
    throws = (WorkerError,)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the task. Raises WorkerLost, which drops the message, if the task has killed too many workers."""
        if not (self.request.delivery_info or {}).get("redelivered"):
            return self.run(*args, **kwargs)
        with current.sync().steps.running(f"{self.name}:{self.request.id}", _this_process()):
            return self.run(*args, **kwargs)


def _this_process() -> str:
    return f"{WORKER_ID}/{os.getpid()}"


def _place_of(job: WindowJob, step: str) -> str:
    """Return the context to which a message is sealed: no other window, run or step can open it."""
    return f"{step}/{job['account_id']}/{job['series']}/{job['start']}/{job['end']}/{job['run_id']}"


def _window_line(args: Sequence[Any]) -> str:
    if isinstance(args[0], dict):
        return "{account_id} {series} {start}/{end} {run_id} {claim}".format_map(args[0])
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


class QuietRequest(Request):
    """A request that shows only the short form of its arguments, because messages carry sealed readings."""

    def on_failure(self, exc_info: Any, *args: Any, **kwargs: Any) -> Any:
        """Record that a pool process died while it ran a step. Other workers see only that the worker lives."""
        error = getattr(exc_info.exception, "exc", exc_info.exception)  # Billiard may have wrapped the error.
        if isinstance(error, WorkerLostError) and isinstance(self.task, WindowTask):
            with suppress(StoreUnavailable):
                current.stores().windows.mark_lost(self.task.step_of(self.args, self.kwargs), WORKER_ID)
        return super().on_failure(exc_info, *args, **kwargs)

    def info(self, safe: bool = True) -> _InfoDict:
        """Describe the request without its arguments, whatever the caller asks for."""
        return super().info(safe=True)
