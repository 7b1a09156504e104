"""Metrics of tasks by Celery's signals: durations, retries, failures and waiting times.

It also enters each task into its lane, and adds the publishing time to each message.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any, Final

from celery import Task, current_app, signals

from worker.domain.fleet.lanes import current_lane, enter_lane, leave_lane
from worker.metrics import (
    ERROR_KINDS,
    TASK_FAILURES,
    TASK_RETRIES,
    TASK_SECONDS,
    TASK_WAIT,
    TASKS_RUNNING,
    error_kind,
)
from worker.ops.broker import PUBLISHED_AT

_TASK_PREFIX: Final = "tasks."
_OTHER_LABEL: Final = "other"  # For tasks that are not ours: the number of label values must stay bounded.


def install() -> None:
    """Connect to Celery's signals in a process that sends or runs tasks.  Safe to repeat."""
    signals.worker_init.connect(_begin_at_zero)
    signals.before_task_publish.connect(_stamp_published_at)
    signals.task_prerun.connect(_record_start)
    signals.task_postrun.connect(_record_end)
    signals.task_retry.connect(_count_retry)
    signals.task_failure.connect(_count_failure)


def _begin_at_zero(**_: Any) -> None:
    """Create the series of retries and failures with 0.

    Prometheus sees no increase in a series that first appears with a count of 1.
    """
    for name in filter(_is_ours, current_app.tasks):
        TASK_RETRIES.labels(name)
        for error in ERROR_KINDS:
            TASK_FAILURES.labels(name, error)


def _stamp_published_at(headers: dict[str, Any] | None = None, **_: Any) -> None:
    if headers is not None:
        headers[PUBLISHED_AT] = time.time()


def _record_start(task: Task[Any, Any], **_: Any) -> None:
    """Enter the task's lane and count it; what the end needs to know stays with the request, which is one run's own."""
    request: Any = task.request
    request.lane_token = enter_lane((request.delivery_info or {}).get("routing_key"))
    request.lane, request.began_at = current_lane(), time.perf_counter()
    TASKS_RUNNING.labels(request.lane).inc()
    if (wait_s := _wait_s(request)) is not None:
        TASK_WAIT.labels(request.lane).observe(wait_s)


def _record_end(task: Task[Any, Any], **_: Any) -> None:
    request: Any = task.request
    TASK_SECONDS.labels(_label(task)).observe(time.perf_counter() - request.began_at)
    TASKS_RUNNING.labels(request.lane).dec()
    leave_lane(request.lane_token)


def _count_retry(sender: Task[Any, Any], **_: Any) -> None:
    TASK_RETRIES.labels(_label(sender)).inc()


def _count_failure(sender: Task[Any, Any], exception: BaseException, **_: Any) -> None:
    TASK_FAILURES.labels(_label(sender), error_kind(exception)).inc()


def _wait_s(request: Any) -> float | None:
    """Return the seconds from publishing, or from the end of the countdown, to the start of the task.

    Never negative, although the clocks of two hosts may differ.  None for a message without a publishing time.
    """
    published_at = request.get(PUBLISHED_AT)
    if not isinstance(published_at, int | float):
        return None
    due_at = datetime.fromisoformat(request.eta).timestamp() if request.eta else 0.0
    return max(0.0, time.time() - max(published_at, due_at))


def _label(task: Task[Any, Any]) -> str:
    return task.name if task.name and _is_ours(task.name) else _OTHER_LABEL


def _is_ours(name: str) -> bool:
    return name.startswith(_TASK_PREFIX)
