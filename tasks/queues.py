"""What waits in the queues, asked by a task."""

from __future__ import annotations

from celery import current_app

from worker.queues import queue_lengths


def measure() -> dict[str, int]:
    """Messages that wait, by queue."""
    with current_app.connection_for_write() as connection:
        return queue_lengths(connection, current_app.conf.task_queues)


def queue_length(name: str) -> int:
    return measure()[name]
