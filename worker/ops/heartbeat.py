"""Heartbeat of a worker process, and requeueing of the messages that dead workers had taken.

Only used with Redis as the broker: RabbitMQ itself requeues what a lost connection had taken.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import threading
from typing import Final

from worker.errors import WorkerError
from worker.metrics import MESSAGES_GIVEN_BACK
from worker.stores.redis.broker import BrokerMessages
from worker.stores.redis.heartbeats import LivingWorkers

log = logging.getLogger("releve.heartbeat")

INTERVAL_S: Final = 4.0
WORKER_ID: Final = f"{platform.node() or 'host'}-{os.getpid()}-{secrets.token_hex(3)}".replace(":", "-")


class Heartbeat:
    """Thread that tells the other workers every few seconds that this one is alive, until ``stop``."""

    def __init__(self, living_workers: LivingWorkers, worker: str = WORKER_ID) -> None:
        self._living_workers, self._worker = living_workers, worker
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        # The first beat is sent before this returns: the messages of a worker without one are given to others.
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and release what this worker still has; call it when the worker takes no more messages."""
        self._stop_event.set()
        try:
            self._living_workers.mark_stopped(self._worker)
        except WorkerError as error:  # The heartbeat then expires by itself.
            log.warning("could not record that this worker has stopped: %s", error)

    def _run(self) -> None:
        while not self._stop_event.wait(INTERVAL_S):
            self._beat()

    def _beat(self) -> None:
        try:
            self._living_workers.mark_alive(self._worker)
        except WorkerError as error:
            log.warning("could not record that this worker is alive: %s", error)


def requeue_orphans(living_workers: LivingWorkers, deliveries: BrokerMessages) -> int:
    """Requeue the messages of dead workers; return their number."""
    total = 0
    for worker in living_workers.dead_workers(deliveries.workers_with_messages()):
        count = deliveries.requeue(worker)
        total += count
        MESSAGES_GIVEN_BACK.inc(count)
        log.warning("worker gone worker=%s messages_requeued=%d", worker, count)
    return total
