"""What waits in the queues, asked by a task."""

from __future__ import annotations

from celery import current_app

from worker.broker import broker_errors
from worker.queues import queue_lengths


def queue_length(name: str) -> int:
    """Messages that wait in the queue of this name."""
    queues = [queue for queue in current_app.conf.task_queues if queue.name == name]
    with broker_errors(), current_app.connection_for_write() as connection:
        return queue_lengths(connection, queues)[name]
