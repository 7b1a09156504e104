"""What waits in the broker's queues: how much, and for how long."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from typing import Any, Final

from kombu import Connection, Queue

PUBLISHED_AT: Final = "releve_published_at"  # a message's header: seconds since 1970


def queue_lengths(connection: Connection, queues: Iterable[Queue]) -> dict[str, int]:
    """Messages that wait, by queue, whichever broker it is; 0 where there is no queue yet.

    Declared as the workers declare them: RabbitMQ refuses another kind, and asked passively, beneath a key prefix,
    kombu's Redis channel finds no queue at all, full ones included.
    """
    channel: Any = connection.default_channel
    return {queue.name: _length(queue(channel)) for queue in queues}


def oldest_ages(connection: Connection, queues: Iterable[Queue]) -> dict[str, float]:
    """Seconds that the next message of each queue has waited since it was published; 0 where none waits.

    Empty on RabbitMQ, which shows no message without taking it.  A queue whose next message says nothing of its
    time, because another program sent it, has no entry.
    """
    if connection.transport.driver_type != "redis":
        return {}
    channel: Any = connection.default_channel
    now = time.time()
    ages: dict[str, float] = {}
    for queue in queues:
        waiting = [raw for key in _keys(channel, queue.name) if (raw := channel.client.lindex(key, -1)) is not None]
        moments = [moment for raw in waiting if (moment := _published_at(raw)) is not None]
        if moments or not waiting:
            ages[queue.name] = max((max(0.0, now - moment) for moment in moments), default=0.0)
    return ages


def _length(queue: Any) -> int:
    return int(queue.queue_declare().message_count)


def _keys(channel: Any, queue: str) -> Iterator[str]:
    """The lists that kombu keeps a queue in, one a priority; what waits longest is at their right end."""
    for priority in channel.priority_steps:
        yield channel.global_keyprefix + (f"{queue}{channel.sep}{priority}" if priority else queue)


def _published_at(raw: bytes | str) -> float | None:
    try:
        told = json.loads(raw)["headers"][PUBLISHED_AT]
    except (ValueError, KeyError, TypeError):
        return None
    return float(told) if isinstance(told, int | float) else None
