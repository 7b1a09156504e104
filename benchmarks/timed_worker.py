"""Relève's Celery app, which also writes how long each step after the first waited, for ``benchmarks/nightly.py``.

Started as ``celery -A benchmarks.timed_worker worker``.  Each worker appends one line a step to ``waits-<pid>`` in its
data folder: seconds from the end of the step before to its start.
"""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Task, signals

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
