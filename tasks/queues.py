"""Lengths of the queues, for tasks that publish only as much as fits."""

from __future__ import annotations

from celery import current_app

from worker.ops.broker import broker_errors, queue_lengths
from worker.runtime.current import get_runtime


def queue_length(name: str) -> int:
    """Return the messages that wait in this queue, or came out of it and wait for a permit or a retry."""
    queues = [queue for queue in current_app.conf.task_queues if queue.name == name]
    with broker_errors(), current_app.connection_or_acquire() as connection:
        waiting = queue_lengths(connection, queues)[name]
    return waiting + get_runtime().progress.count_parked(name)
