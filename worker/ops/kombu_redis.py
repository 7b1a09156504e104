"""kombu's Redis transports with a fix for lost connections and fewer commands for each message.

What is stored in Redis has the same format as with kombu's own transports.

**Lost connections.**  A worker must survive the loss of its broker at any moment.  kombu 5.7 closes a broken channel
twice, and the second time it builds a new pool from a connection that no longer exists.  The AttributeError ends the
worker ("Unrecoverable error").  Raised as a lost connection, the worker expects it and connects again.  Seen with a
killed leader behind Sentinels, and with a plain Redis that went away while tasks were acknowledged
(tests/acceptance: test_sentinel.py, test_watchdog.py).  No upstream issue was found.

**Fewer commands**, found in profiles of a night (docs/reference/benchmarks.md) with kombu 5.7 and redis-py 8.1:

- kombu makes a new client for nearly every command, which costs more than the command.  Here a channel has one client
  for each pool.
- kombu uses a transaction of four commands to add a message to the unacknowledged ones, and another one to remove it.
  Two commands in one packet are enough.  If only the first arrives, a message is in its worker's hash without an age,
  or an age has no message.  The first is requeued with the hash when the worker is gone (worker/ops/heartbeat.py), and
  the second has no effect.
"""

from __future__ import annotations

from time import time
from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis
from kombu.utils.json import dumps


class QoS(kombu_redis.QoS):
    """List of a worker's unacknowledged messages, in two keys.

    ``unacked:<worker>`` is a hash from delivery tag to ``[message, exchange, routing key]`` as JSON;
    ``unacked_index:<worker>`` is a sorted set of delivery tags by the time of delivery, in seconds since 1970.
    """

    channel: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        delivery = message.delivery_info
        entry = dumps([message._raw, delivery["exchange"], delivery["routing_key"]])
        with self.channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            # The hash comes first: if only one of the two commands arrives, it must be the one with the message.
            pipe.hset(self.unacked_key, delivery_tag, entry)
            pipe.zadd(self.unacked_index_key, {delivery_tag: time()})
            pipe.execute()
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        with self.channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            pipe.hdel(self.unacked_key, delivery_tag)
            pipe.zrem(self.unacked_index_key, delivery_tag)
            pipe.execute()
        virtual.QoS.ack(self, delivery_tag)


class _ResilientChannel:
    """Mixin with the fixes, to be placed before either of kombu's channel classes."""

    QoS: Any = QoS
    connection: Any
    pool: Any
    _client_cache: Any = None

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Return the parameters of a connection pool.

        Raises redis.ConnectionError, which Celery expects, where the channel has no connection any more.
        """
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("this channel's connection is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # It is a mixin.
        return parameters

    def _create_client(self, asynchronous: bool = False) -> Any:
        """Return the channel's only client, which lives as long as its pool."""
        if asynchronous:  # The client that waits for messages blocks its connection, so it has one of its own.
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        pool, client = self.pool, self._client_cache
        if client is None or client.connection_pool is not pool:
            self._client_cache = client = super()._create_client()  # type: ignore[misc]
        return client


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
