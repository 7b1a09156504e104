"""Relève's Celery app with what ``benchmarks/nightly.py`` needs of its workers.

Started as ``celery -A benchmarks.timed_worker worker``.  Each worker appends one line a step to ``waits-<pid>`` in its
data folder: seconds from the end of the step before to its start.  ``publish_chains`` publishes chains of four tasks
that do nothing, through the queues of a window's chain: what they cost is Celery's own.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Task, chain, signals

from config.settings import get_settings
from worker.app import app
from worker.domain.lanes import Lane
from worker.ops.broker import PUBLISHED_AT

__all__ = ["app"]


@signals.task_prerun.connect
def _write_wait(task: Task[Any, Any], **_: Any) -> None:
    if (task.request.delivery_info or {}).get("routing_key") == Lane.STEPS:
        with (get_settings().data_dir / f"waits-{os.getpid()}").open("a") as file:
            file.write(f"{time.time() - task.request.get(PUBLISHED_AT):.4f}\n")


@app.task(name="benchmarks.do_nothing")
def _do_nothing(*_: Any) -> None: ...


@app.task(name="benchmarks.publish_chains")
def _publish_chains(number: int) -> None:
    rest = [_do_nothing.s().set(queue=Lane.STEPS.value) for _ in range(3)]
    for _ in range(number):
        chain(_do_nothing.s().set(queue=Lane.NIGHTLY.value), *rest).apply_async()
