"""Running the next steps of a window in the thread that ran the first.

A message costs a worker more than most steps do (docs/reference/benchmarks.md).  So what Celery would publish next of
a chain is kept back and traced here, each step as the task that it is: with an id, signals, retries and events of its
own.  The message of the first step is acknowledged after the last, so whoever dies on the way leaves all of it to
another, who asks again.  What must be tried again later is a message, as ever; so is the rest of a window whose worker
is about to end, and every step in a pool that isn't of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from billiard.einfo import ExceptionInfo, ExceptionWithTraceback  # type: ignore[attr-defined]  # the stubs lag behind
from celery import Task
from celery.concurrency.thread import TaskPool as ThreadPool
from celery.exceptions import Ignore, Retry
from celery.utils import uuid
from celery.utils.saferepr import saferepr
from celery.worker import state as worker_state

Tracer = Callable[..., Any]  # Celery's: does a task, signals and retries and all

_TO_COME_LATER: Final = ("countdown", "eta", "retries")


@dataclass(frozen=True, slots=True)
class Step:
    """A task as it would have been published."""

    task: OnwardTask
    id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    options: Mapping[str, Any]


_kept: ContextVar[list[Step] | None] = ContextVar("kept", default=None)


class OnwardTask(Task):  # type: ignore[type-arg]
    """One of a chain, after which the next is done at once."""

    abstract = True
    _consumer: Any = None  # of the worker that we are in, where its pool is of threads
    _tracer: Tracer | None = None

    def start_strategy(self, app: Any, consumer: Any, **options: Any) -> Any:
        """Keep the consumer; a worker calls this each time it begins to consume."""
        self._consumer = consumer if isinstance(consumer.pool, ThreadPool) else None
        return super().start_strategy(app, consumer, **options)

    @property
    def __trace__(self) -> Tracer | None:
        """The function that a worker calls to run the task; Celery sets it when it begins to consume."""
        return self._tracer if self._consumer is None or self._tracer is None else self._do_all

    @__trace__.setter
    def __trace__(self, tracer: Tracer | None) -> None:
        self._tracer = tracer

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """Publish as Task does; the next step of the chain that this thread runs is kept instead."""
        steps = _kept.get()
        if steps is None or "chain" not in options or any(map(options.get, _TO_COME_LATER)) or _worker_ends():
            return super().apply_async(args, kwargs, *rest, **options)
        step = Step(self, options.get("task_id") or uuid(), tuple(args or ()), dict(kwargs or {}), options)
        steps.append(step)
        return self.AsyncResult(step.id)

    def _do_all(self, task_id: str, args: Any, kwargs: Any, request: Any = None) -> Any:
        """Run this task and the steps kept on the way; return the result of the first."""
        steps: list[Step] = []
        token = _kept.set(steps)
        try:
            result = self._trace(task_id, args, kwargs, request)
            while steps:
                self._do(steps.pop(), request)
        finally:
            _kept.reset(token)
        return result

    def _do(self, step: Step, first: Mapping[str, Any]) -> None:
        request = _request_of(step, first)
        shown = {"name": step.task.name, "args": request["argsrepr"], "kwargs": request["kwargsrepr"]}
        ancestors = {"root_id": request["root_id"], "parent_id": request["parent_id"]}
        self._send_event("task-received", uuid=step.id, **shown, **ancestors, retries=0, eta=None, expires=None)
        self._send_event("task-started", uuid=step.id)
        outcome, failed, runtime_s, result = step.task._trace(step.id, step.args, step.kwargs, request)
        if not failed:
            self._send_event("task-succeeded", uuid=step.id, result=result, runtime=runtime_s)
        elif not isinstance(error := _error_of(outcome), Ignore):
            again = isinstance(error, Retry)
            error_fields = {"exception": saferepr(error.exc if again else error), "traceback": str(outcome.traceback)}
            self._send_event("task-retried" if again else "task-failed", uuid=step.id, **error_fields)

    def _trace(self, task_id: str, args: Any, kwargs: Any, request: Any) -> Any:
        assert self._tracer is not None  # noqa: S101 - whoever does a task consumes, or has begun to
        return self._tracer(task_id, args, kwargs, request)

    def _send_event(self, event: str, **fields: Any) -> None:
        """Send an event to Flower, as for a task that came by message, if events are enabled."""
        dispatcher = self._consumer.event_dispatcher
        if dispatcher and dispatcher.enabled and self.send_events:
            dispatcher.send(event, **fields)


def _request_of(step: Step, first: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request that the step would have found in its message; a retry goes to the queue of the first."""
    options = step.options
    return {
        "lang": "py",
        "task": step.task.name,
        "id": step.id,
        "root_id": options.get("root_id"),
        "parent_id": options.get("parent_id"),
        "argsrepr": options.get("argsrepr"),
        "kwargsrepr": saferepr(step.kwargs),
        "chain": options["chain"],
        "hostname": first.get("hostname"),
        "delivery_info": {**(first.get("delivery_info") or {}), "redelivered": False},
        "ignore_result": first.get("ignore_result"),
    }


def _error_of(outcome: ExceptionInfo) -> Any:
    """Return the error that was raised; Celery may have wrapped it to travel between processes."""
    error = outcome.exception
    return error.exc if isinstance(error, ExceptionWithTraceback) else error


def _worker_ends() -> bool:
    """Return whether the worker was told to stop; 0 is an exit code."""
    return worker_state.should_stop is not None and worker_state.should_stop is not False
