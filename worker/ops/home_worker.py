"""The worker of a home: one process, with one thread for tasks and one for beat (`python -m worker.ops.home_worker`).

It takes half the memory that a worker and a beat process take together. Celery's own `-B` would fork a second process,
and Celery's command line would load Flower, a shell and their libraries.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
from signal import SIGTERM
from typing import Any

from celery import bootsteps
from celery.beat import Service

from worker.app import app

log = logging.getLogger("releve")


class BeatInWorker(bootsteps.StartStopStep):
    """A worker's start-up step, which runs beat in a thread."""

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._is_ending = False

    def start(self, parent: Any) -> None:
        # Stopping the service takes up to ``max_interval`` seconds.
        self._service = Service(parent.app, max_interval=1, scheduler_cls=parent.app.conf.beat_scheduler)
        threading.Thread(target=self._run, name="beat", daemon=True).start()

    def stop(self, parent: Any) -> None:
        self._is_ending = True
        self._service.stop(wait=True)

    def _run(self) -> None:
        try:
            self._service.start()
        finally:
            if not self._is_ending:  # A worker without beat would sit idle for ever.
                log.error("beat has ended, so this worker ends too")
                os.kill(os.getpid(), SIGTERM)


def main() -> int:
    """Run the worker until SIGTERM; return its exit code."""
    app.steps["worker"].add(BeatInWorker)
    # Gossip and mingle are of use only with other workers.
    worker = app.Worker(concurrency=1, without_gossip=True, without_mingle=True)
    worker.start()
    return worker.exitcode or 0


if __name__ == "__main__":
    sys.exit(main())
