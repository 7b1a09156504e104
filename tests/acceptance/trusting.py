"""``celery -A tests.acceptance.trusting``: a worker without time-outs towards its broker, as Celery's default is.

It waits on a dead connection for ever.  ``nap`` keeps a thread busy until the file ``wake`` exists, ``mark`` makes a
file.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from celery import shared_task

from worker.app import app

__all__ = ["app"]

_FOLDER = Path(os.environ["TEST_FOLDER"])

app.conf.broker_transport_options = {
    "global_keyprefix": "releve:celery:",
    "visibility_timeout": 3600,
    "health_check_interval": 0,
    "queue_order_strategy": "priority",
}


@shared_task(name="tests.mark")
def mark(name: str) -> None:
    (_FOLDER / name).touch()


@shared_task(name="tests.nap")
def nap(name: str) -> None:
    (_FOLDER / f"{name}.begun").touch()
    while not (_FOLDER / "wake").exists():
        time.sleep(0.05)
