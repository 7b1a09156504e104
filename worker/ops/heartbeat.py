"""Heartbeat of a worker process, and requeueing of the messages that dead workers had taken.

Messages are only requeued with Redis as the broker: RabbitMQ itself requeues what a lost connection had taken.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import threading
from typing import Any, Final

from celery import signals
from celery.worker import state

from worker.errors import WorkerError
from worker.metrics import MESSAGES_GIVEN_BACK
from worker.stores.redis.heartbeats import BrokerMessages, Heartbeats, WorkerHeartbeat

log = logging.getLogger("releve.heartbeat")
INTERVAL_S: Final = 4.0
WORKER_ID: Final = f"{platform.node() or 'host'}-{os.getpid()}-{secrets.token_hex(3)}".replace(":", "-")
# The watchdog restarts the program in its own process, which keeps its environment.
RESTARTS_VARIABLE: Final = "RELEVE_WATCHDOG_RESTARTS"


class WorkerActivity:
    """What a worker does now; before it is ready, nothing.

    ``consumer`` is the sender of Celery's ``worker_ready``.
    """

    consumer: Any = None

    @property
    def progress(self) -> tuple[int, int, int]:
        """Numbers that change with each task that the worker receives, begins or ends."""
        return state.all_total_count[0], len(state.reserved_requests), self.running

    @property
    def running(self) -> int:
        return len(state.active_requests)

    @property
    def slots(self) -> int:
        if self.consumer is None:
            return 0
        controller, pool = self.consumer.controller, self.consumer.pool
        return int(getattr(controller, "max_concurrency", None) or pool.num_processes)

    def queues(self) -> list[Any]:
        """Return the queues that the worker consumes now; an operator can take some away while it runs."""
        task_consumer = getattr(self.consumer, "task_consumer", None)
        return list(task_consumer.queues) if task_consumer is not None else []


class Heartbeat:
    """Thread that writes every few seconds that this worker is alive and what it does, until ``stop``."""

    def __init__(self, heartbeats: Heartbeats, name: str, worker: str = WORKER_ID) -> None:
        self.activity = WorkerActivity()
        self._heartbeats, self._name, self._worker = heartbeats, name, worker
        self.restarts = int(os.environ.get(RESTARTS_VARIABLE, "0"))
        self._progress, self._progress_at = (-1, 0, 0), 0.0
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def start(self) -> None:
        # The first beat is sent before this returns: the messages of a worker without one are given to others.
        self._beat()
        self._thread.start()

    def watch(self, consumer: Any) -> None:
        """Tell from now on, and at once, what the worker does that has just become ready."""
        self.activity.consumer = consumer
        self._beat()

    def stop(self) -> None:
        """Stop the thread and release what this worker still has; call it when the worker takes no more messages."""
        self._stop_event.set()
        if self._thread.ident is not None:
            self._thread.join(INTERVAL_S)  # Else a last beat could be written after the goodbye.
        try:
            self._heartbeats.forget_worker(self._worker)
        except WorkerError as error:  # The heartbeat then expires by itself.
            log.warning("could not record that this worker has stopped: %s", error)

    def _run(self) -> None:
        while not self._stop_event.wait(INTERVAL_S):
            self._beat()

    def _beat(self) -> None:
        activity = self.activity
        try:
            now = self._heartbeats.now()
            if activity.progress != self._progress:
                self._progress, self._progress_at = activity.progress, now
            queues = tuple(sorted(queue.name for queue in activity.queues()))
            state = (self._progress_at, activity.running, activity.slots, queues, self.restarts)
            self._heartbeats.record_worker(self._worker, WorkerHeartbeat(self._name, now, *state))
        except WorkerError as error:
            log.warning("could not record that this worker is alive: %s", error)


def start_heartbeat(heartbeats: Heartbeats, name: str) -> Heartbeat:
    """Write heartbeats of this worker until it ends, the first one before this returns."""
    heartbeat = Heartbeat(heartbeats, name)
    heartbeat.start()
    signals.worker_shutdown.connect(lambda **_: heartbeat.stop(), weak=False)
    return heartbeat


def requeue_orphans(heartbeats: Heartbeats, deliveries: BrokerMessages) -> int:
    """Requeue the messages of dead workers; return their number."""
    total = 0
    for worker in heartbeats.dead_workers(deliveries.workers_with_messages()):
        count = deliveries.requeue(worker)
        total += count
        MESSAGES_GIVEN_BACK.inc(count)
        log.warning("worker gone worker=%s messages_requeued=%d", worker, count)
    return total
