"""kombu's Redis transports, repaired for lost connections, and what a former connection held, given back.

A worker must survive the loss of its broker at any moment.  Two things are needed for that which Celery 5.7 and kombu
5.7 don't do:

- kombu closes a broken channel twice, and the second time it builds a new pool from a connection that no longer exists.
  The AttributeError ends the worker ("Unrecoverable error").  Raised as a lost connection, the worker expects it and
  connects again.  Seen with a killed leader behind Sentinels, and with a plain Redis that went away while tasks were
  acknowledged (tests/acceptance: test_sentinel.py, test_watchdog.py).  No upstream issue was found.
- After it has connected again, a worker forgets what it had taken by the lost connection: retries that wait for their
  countdown, and the acknowledgements of tasks that still run.  These messages stay in its hash of unacknowledged ones
  (worker/stores/redis/heartbeats.py) until the visibility time-out, and since the worker lives nobody else gives them
  back.
  ``FormerDeliveries`` does, before the new connection takes its first message.
"""

from __future__ import annotations

import logging
from typing import Any

import redis
from celery import bootsteps
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis

from worker.errors import StoreUnavailable
from worker.metrics import MESSAGES_GIVEN_BACK

log = logging.getLogger("releve.broker")


class _ResilientChannel:
    """Mixin with the fix, to be placed before either of kombu's channel classes."""

    connection: Any

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Return the parameters of a connection pool.

        Raises redis.ConnectionError, which Celery expects, where the channel has no connection any more.
        """
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("the connection of this channel is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # It is a mixin.
        return parameters


class RedisChannel(_ResilientChannel, kombu_redis.Channel):
    pass


class SentinelChannel(_ResilientChannel, kombu_redis.SentinelChannel):
    pass


class RedisTransport(kombu_redis.Transport):
    Channel = RedisChannel


class SentinelTransport(kombu_redis.SentinelTransport):
    Channel = SentinelChannel


def register_transports() -> None:
    """Make ``redis://``, ``rediss://`` and ``sentinel://`` URLs use these transports in this process.

    Sockets and failover addresses use them too.
    """
    for scheme, transport in (("redis", RedisTransport), ("rediss", RedisTransport), ("sentinel", SentinelTransport)):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{transport.__name__}"


class FormerDeliveries(bootsteps.StartStopStep):
    """Step of a worker's start, and of each new connection, that requeues what its former connection held.

    Tasks of the former connection that still run are done twice, which changes nothing.
    """

    # Messages are only taken by the event loop, which starts after all other steps.
    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent: Any) -> None:
        """Requeue; raises ConnectionError, upon which Celery connects once more, where Redis is away again."""
        from worker.ops.heartbeat import WORKER_ID
        from worker.runtime.current import get_runtime

        messages = get_runtime().broker_messages
        if messages is None:
            return  # RabbitMQ does so itself.
        try:
            count = messages.requeue(WORKER_ID)
        except StoreUnavailable as outage:
            raise ConnectionError(str(outage)) from None
        if count:
            MESSAGES_GIVEN_BACK.inc(count)
            log.warning("connected anew messages_requeued=%d", count)
