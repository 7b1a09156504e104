"""Relève's Celery app that sends every message twice, started as ``celery -A worker.drill.doubling_worker worker``."""

from __future__ import annotations

import sys
from typing import Any

from worker.drill.crash_worker import app

__all__ = ["app"]

_send: Any = app.amqp.send_task_message


def _send_twice(*args: Any, **kwargs: Any) -> Any:
    _send(*args, **kwargs)
    return _send(*args, **kwargs)


# An import of this module must change nothing: only the worker started with it sends twice.
if any(argument.endswith(__name__) for argument in sys.argv):
    setattr(app.amqp, "send_task_message", _send_twice)  # noqa: B010 - celery declares it read-only
