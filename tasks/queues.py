"""What waits in the queues, asked by a task."""

from __future__ import annotations

from celery import current_app

from worker.ops.broker import broker_errors, queue_lengths
from worker.runtime.process import get_runtime


def queue_length(name: str) -> int:
    """Messages that wait in the queue of this name, or came out of it and wait for a permit or another try."""
    queues = [queue for queue in current_app.conf.task_queues if queue.name == name]
    with broker_errors(), current_app.connection_or_acquire() as connection:
        waiting = queue_lengths(connection, queues)[name]
    return waiting + get_runtime().state.parked(name)
