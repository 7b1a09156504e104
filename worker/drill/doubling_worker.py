"""``celery -A worker.drill.doubling_worker worker``: Relève's own app, every message of which is sent twice."""

from __future__ import annotations

import sys
from typing import Any

from worker.drill.crash_worker import app

__all__ = ["app"]

_send: Any = app.amqp.send_task_message


def _send_twice(*args: Any, **kwargs: Any) -> Any:
    _send(*args, **kwargs)
    return _send(*args, **kwargs)


if any(word.endswith(__name__) for word in sys.argv):  # to be imported alone changes nothing
    setattr(app.amqp, "send_task_message", _send_twice)  # noqa: B010 - celery calls it read-only, and looks it up
