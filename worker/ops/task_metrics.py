"""Counts what tasks do, tells each its lane, and stamps each message with its time."""

from __future__ import annotations

import time
from contextvars import Token
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from celery import Task, current_app, signals

from worker.domain.fleet.lanes import Lane, current_lane, enter_lane, leave_lane
from worker.metrics import (
    ERROR_KINDS,
    TASK_FAILURES,
    TASK_RETRIES,
    TASK_SECONDS,
    TASK_WAIT,
    TASKS_RUNNING,
    kind_of,
)
from worker.ops.broker import PUBLISHED_AT

_OURS: Final = "tasks."
_OTHERS: Final = "other"  # Celery's own: a label must not be whatever a name is


@dataclass(frozen=True, slots=True)
class _Start:
    token: Token[Lane]
    lane: Lane
    at: float


_starts: Final[dict[str, _Start]] = {}  # by task id: what runs in this process now


def install() -> None:
    """In each process that sends or does tasks.  Safe to repeat."""
    signals.worker_init.connect(_begin_at_zero)
    signals.before_task_publish.connect(_stamp)
    signals.task_prerun.connect(_started)
    signals.task_postrun.connect(_ended)
    signals.task_retry.connect(_retried)
    signals.task_failure.connect(_failed)


def _begin_at_zero(**_: Any) -> None:
    """Of a series that appears with its first count, Prometheus sees no increase."""
    for name in filter(_is_ours, current_app.tasks):
        TASK_RETRIES.labels(name)
        for error in ERROR_KINDS:
            TASK_FAILURES.labels(name, error)


def _stamp(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[PUBLISHED_AT] = time.time()


def _started(task_id: str, task: Task[Any, Any], **_: Any) -> None:
    token = enter_lane((task.request.delivery_info or {}).get("routing_key"))
    lane = current_lane()
    _starts[task_id] = _Start(token, lane, time.perf_counter())
    TASKS_RUNNING.labels(lane).inc()
    if (wait_s := _wait_s(task.request)) is not None:
        TASK_WAIT.labels(lane).observe(wait_s)


def _ended(task_id: str, task: Task[Any, Any], **_: Any) -> None:
    if (start := _starts.pop(task_id, None)) is None:
        return
    TASK_SECONDS.labels(_label(task)).observe(time.perf_counter() - start.at)
    TASKS_RUNNING.labels(start.lane).dec()
    leave_lane(start.token)


def _retried(sender: Task[Any, Any], **_: Any) -> None:
    TASK_RETRIES.labels(_label(sender)).inc()


def _failed(sender: Task[Any, Any], exception: BaseException, **_: Any) -> None:
    TASK_FAILURES.labels(_label(sender), kind_of(exception)).inc()


def _wait_s(request: Any) -> float | None:
    """From its publishing, or from the end of its countdown; clocks of two hosts may differ, so never below 0."""
    published_at = request.get(PUBLISHED_AT)
    if not isinstance(published_at, int | float):
        return None
    due_at = datetime.fromisoformat(request.eta).timestamp() if request.eta else 0.0
    return max(0.0, time.time() - max(published_at, due_at))


def _label(task: Task[Any, Any]) -> str:
    return task.name if task.name and _is_ours(task.name) else _OTHERS


def _is_ours(name: str) -> bool:
    return name.startswith(_OURS)
