"""The message broker: its errors in plain words, the lengths and ages of its queues, and repairs of kombu's transports.

No error text of RabbitMQ is passed on, because it may contain a user name.

A worker must survive the loss of its broker at any moment. Celery 5.7 and kombu 5.7 fail at this in three ways:

- kombu closes a broken channel twice. The second time, it builds a new pool from a connection that no longer exists,
  and an AttributeError ends the worker ("Unrecoverable error"). Here a lost connection is raised instead: the worker
  expects this error, and connects again. Seen with a killed primary behind Sentinels, and with a plain Redis that went
  away while tasks were acknowledged (tests/acceptance: test_sentinel.py, test_watchdog.py). No upstream issue was
  found.
- A Redis that refuses writes ends the worker as well. Redis refuses them if its disk is full (MISCONF), its memory is
  full (OOM), or it is no longer the primary (READONLY). Here a lost connection is raised, so that the worker tries
  again.
- After reconnecting, a worker forgets the messages from the lost connection: retries that wait for their countdown, and
  tasks that still run and are not acknowledged. These messages stay in the worker's hash of unacknowledged messages
  (worker/stores/redis/heartbeats.py) until the visibility timeout. No other process requeues them, because the worker
  is alive. ``FormerDeliveries`` requeues them before the new connection takes its first message.
"""

from __future__ import annotations

import json
import logging
import os
import platform
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import redis
from amqp.exceptions import AccessRefused, AMQPError, NotAllowed, NotFound, PreconditionFailed
from celery import Celery, bootsteps
from celery.exceptions import Reject
from kombu import Connection, Queue
from kombu.exceptions import OperationalError
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis
from redis import RedisError
from redis.exceptions import OutOfMemoryError, ReadOnlyError

from worker.errors import StoreUnavailable, UnexpectedError, WorkerError
from worker.metrics import MESSAGES_GIVEN_BACK

WORKER_ID: Final = f"{platform.node() or 'host'}-{os.getpid()}-{secrets.token_hex(3)}".replace(":", "-")
# The header of a message with the time of its publishing, in seconds since 1970, like 1721890800.25.
PUBLISHED_AT: Final = "releve_published_at"
log = logging.getLogger("releve.broker")

# -- errors


@contextmanager
def broker_errors() -> Iterator[None]:
    """Turn the errors of kombu, py-amqp and redis-py into StoreUnavailable; also usable as a decorator.

    redis-py's own errors are included because kombu passes them on when an open connection is cut.
    """
    try:
        yield
    except (OperationalError, AMQPError, RedisError, OSError) as error:
        raise StoreUnavailable(_describe_error(error)) from None


def to_worker_error(error: object) -> WorkerError:
    """Turn the error that ended a task into a WorkerError. A failure of the broker becomes StoreUnavailable."""
    if isinstance(error, Reject):
        error = vars(error)["reason"]
    if isinstance(error, OperationalError | AMQPError | RedisError):
        return StoreUnavailable(_describe_error(error))
    return error if isinstance(error, WorkerError) else UnexpectedError(f"unexpected {type(error).__name__}")


def check_broker_access(app: Celery) -> None:
    """Raise StoreUnavailable if RabbitMQ refuses the URL's user or virtual host, or has a certificate we don't trust.

    Celery itself would print a traceback, or retry for ever. If the broker does not answer, nothing is raised, because
    the worker waits for it.
    """
    connection: Connection = app.connection_for_write()
    if connection.transport.driver_type != "amqp":
        return  # Redis is checked when the stores are opened.
    try:
        with connection:
            connection.connect()
    except (AccessRefused, NotAllowed, OSError) as error:
        if isinstance(error, AMQPError) or _is_untrusted_certificate(error):
            raise StoreUnavailable(_describe_error(error)) from None


def _describe_error(error: Exception) -> str:
    if isinstance(error, AccessRefused):
        return "RabbitMQ refuses this user: check user and password in RELEVE_BROKER_URL, and the user's permissions"
    if isinstance(error, NotAllowed | NotFound):
        return "this RabbitMQ user has no such virtual host: check the end of RELEVE_BROKER_URL"
    if isinstance(error, PreconditionFailed):
        return "RabbitMQ already has such a queue, but of another type: delete it, or give Relève its own virtual host"
    if _is_untrusted_certificate(error):
        return (
            "the broker's certificate is not trusted, or not for this host: set ssl_ca_certs in RELEVE_BROKER_URL "
            "to the CA's file"
        )
    return "the broker can't be reached: start it, or correct RELEVE_BROKER_URL (or RELEVE_REDIS_URL)"


def _is_untrusted_certificate(error: Exception) -> bool:
    return "CERTIFICATE_VERIFY_FAILED" in str(error)


# -- queues


def queue_lengths(connection: Connection, queues: Iterable[Queue]) -> dict[str, int]:
    """Return the number of waiting messages of each queue, on Redis or RabbitMQ; 0 if the queue does not exist yet.

    Each queue is declared with the options that the workers use, because RabbitMQ refuses other options.  A passive
    declaration would not work: with a key prefix, kombu's Redis channel would find no queue, even if the queue has
    messages.
    """
    channel: Any = connection.default_channel
    return {queue.name: _length(queue(channel)) for queue in queues}


def oldest_ages(connection: Connection, queues: Iterable[Queue]) -> dict[str, float]:
    """Return how many seconds ago the message at the head of each queue was published; 0 for an empty queue.

    The result is empty on RabbitMQ, which shows no message without delivering it. A queue has no entry if this message
    has no publishing time, for example because another program sent it.
    """
    if connection.transport.driver_type != "redis":
        return {}
    channel: Any = connection.default_channel
    now = time.time()
    ages: dict[str, float] = {}
    for queue in queues:
        # Redis holds the queue as a list (key like ``releve:celery:nightly``); its head is the right end.
        raw = channel.client.lindex(channel.global_keyprefix + queue.name, -1)
        if (moment := now if raw is None else _published_at(raw)) is not None:
            ages[queue.name] = max(0.0, now - moment)  # The publisher's clock may be ahead of ours.
    return ages


def _length(queue: Any) -> int:
    return int(queue.queue_declare().message_count)


def _published_at(raw: bytes | str) -> float | None:
    try:
        moment = json.loads(raw)["headers"][PUBLISHED_AT]
    except (ValueError, KeyError, TypeError):
        return None
    return float(moment) if isinstance(moment, int | float) else None


class _ResilientChannel:
    """Mixin that repairs kombu's channel classes; it must be the first base class."""

    connection: Any

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Return the parameters of a connection pool.

        Raises redis.ConnectionError, which Celery expects, if the channel has lost its connection.
        """
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("the connection of this channel is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # It is a mixin.
        kind = type("WritableConnection", (_LostWhereRefused, parameters["connection_class"]), {})
        return parameters | {"connection_class": kind}


class _LostWhereRefused:
    """Mixin for a redis-py connection that counts as lost when the server refuses writes.

    It raises Python's ConnectionError, because redis-py's own ConnectionError would make redis-py retry a transaction
    without end.
    """

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except redis.ResponseError as refusal:
            if isinstance(refusal, OutOfMemoryError | ReadOnlyError) or str(refusal).startswith("MISCONF"):
                # After a refused transaction, unread answers may be left on the connection.
                self.disconnect()  # type: ignore[attr-defined]
                raise ConnectionError(f"Redis refuses writes: {refusal}") from None
            raise


class RedisChannel(_ResilientChannel, kombu_redis.Channel):
    pass


class SentinelChannel(_ResilientChannel, kombu_redis.SentinelChannel):
    pass


class RedisTransport(kombu_redis.Transport):
    Channel = RedisChannel


class SentinelTransport(kombu_redis.SentinelTransport):
    Channel = SentinelChannel


def register_transports() -> None:
    """Make ``redis://``, ``rediss://`` and ``sentinel://`` URLs use the transports of this module in this process.

    The transports also serve Unix sockets and failover addresses.
    """
    for scheme, transport in (("redis", RedisTransport), ("rediss", RedisTransport), ("sentinel", SentinelTransport)):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{transport.__name__}"


class FormerDeliveries(bootsteps.StartStopStep):
    """Step at a worker's start and at each reconnection; it requeues the messages that the former connection held.

    A task that still runs is thus run a second time, which does no harm.
    """

    # Starting after ``Tasks`` is early enough: messages are taken only by the event loop, which starts after all steps.
    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Requeue the messages; raises ConnectionError if Redis is away again, so that Celery reconnects."""
        from worker.runtime import current

        messages = current.stores().broker
        if messages is None:
            return  # RabbitMQ itself requeues the messages.
        try:
            # A home has only one worker. Others that still hold messages are dead, so their messages are requeued, too.
            workers = messages.workers_with_messages() if current.stores().settings.is_home else [WORKER_ID]
            count = sum(map(messages.requeue, workers))
        except StoreUnavailable as outage:
            raise ConnectionError(str(outage)) from None
        if count:
            MESSAGES_GIVEN_BACK.inc(count)
            log.warning("connected anew messages_requeued=%d", count)
