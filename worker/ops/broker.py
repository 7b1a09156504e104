"""What goes wrong between us and the broker, in words for whoever set RELEVE_BROKER_URL.

No text of RabbitMQ's is passed on whole: it may name a user.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from amqp.exceptions import AccessRefused, AMQPError, NotAllowed, NotFound, PreconditionFailed
from celery import Celery
from kombu import Connection, Queue
from kombu.exceptions import OperationalError
from redis import RedisError

from worker.errors import StoreUnavailable


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn what kombu, py-amqp and redis-py raise into StoreUnavailable; also a decorator.

    kombu passes on redis-py's own errors where a connection that it had is cut.
    """
    try:
        yield
    except (OperationalError, AMQPError, RedisError, OSError) as error:
        raise StoreUnavailable(_in_words(error)) from None


def refuse_wrong_broker(app: Celery) -> None:
    """Raises StoreUnavailable where RabbitMQ does answer but what we were told of it is wrong.

    Celery would say so beneath a traceback, or try again for ever.  One that is down is waited for.
    """
    connection: Connection = app.connection_for_write()
    if connection.transport.driver_type != "amqp":
        return  # Redis, which whoever builds the runtime looks at
    try:
        with connection:
            connection.connect()
    except (AccessRefused, NotAllowed, OSError) as error:
        if isinstance(error, AMQPError) or _untrusted(error):
            raise StoreUnavailable(_in_words(error)) from None


def _in_words(error: Exception) -> str:
    if isinstance(error, AccessRefused):
        return "RabbitMQ refuses this user: check user, password and rights in RELEVE_BROKER_URL"
    if isinstance(error, NotAllowed | NotFound):
        return "RabbitMQ has no such virtual host for this user: check the end of RELEVE_BROKER_URL"
    if isinstance(error, PreconditionFailed):
        return (
            "RabbitMQ has a queue of our name but of another kind: delete it, or give Relève a virtual host of its own"
        )
    if _untrusted(error):
        return (
            "the broker's certificate is not one of a known authority, or not for this host: set ssl_ca_certs to the "
            "CA's file in RELEVE_BROKER_URL"
        )
    return "the broker can't be reached: start it, or set RELEVE_BROKER_URL (or RELEVE_REDIS_URL) right"


def _untrusted(error: Exception) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


# What waits in the broker's queues: how much, and for how long.

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
