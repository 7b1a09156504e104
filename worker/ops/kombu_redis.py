"""kombu's ways to Redis, mended, and with fewer steps for each message; what lies in Redis is the same.

A worker outlives the loss of its broker, at whatever moment it comes: kombu 5.7 closes a broken channel twice, and the
second time it builds a new pool for it out of a connection that is gone already.  The AttributeError ends the worker
("Unrecoverable error").  Said as a lost connection it is what the worker expects, and it connects anew.  Seen with a
killed leader behind Sentinels and with a plain Redis that went away while tasks were being acknowledged
(tests/acceptance: test_sentinel.py, test_watchdog.py); no upstream issue was found.

Seen in profiles of a night (docs/reference/benchmarks.md), kombu 5.7 and redis-py 8.1:

- a new client for nearly every command, which costs more than the command: here one a channel and pool;
- a transaction of four commands to note what is not acknowledged, and another to strike it out.  Two commands in one
  packet are enough.  Where only the first arrives, the message stands in its worker's hash without an age, or its age
  without a message: the first is given back with the hash when the worker is gone (worker/ops/heartbeat.py), the second
  means nothing.
"""

from __future__ import annotations

from time import time
from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport import redis as kombu_redis
from kombu.utils.json import dumps


class QoS(kombu_redis.QoS):
    channel: Any

    def append(self, message: Any, delivery_tag: str) -> None:
        delivery = message.delivery_info
        held = dumps([message._raw, delivery["exchange"], delivery["routing_key"]])
        with self.channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            pipe.hset(self.unacked_key, delivery_tag, held)
            pipe.zadd(self.unacked_index_key, {delivery_tag: time()})
            pipe.execute()
        virtual.QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        with self.channel.conn_or_acquire() as client, client.pipeline(transaction=False) as pipe:
            pipe.hdel(self.unacked_key, delivery_tag)
            pipe.zrem(self.unacked_index_key, delivery_tag)
            pipe.execute()
        virtual.QoS.ack(self, delivery_tag)


class _Mended:
    """Before either Channel."""

    QoS: Any = QoS
    connection: Any
    pool: Any
    _kept: Any = None

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Without a connection there are no parameters for a pool."""
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("this channel's connection is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # it stands before one
        return parameters

    def _create_client(self, asynchronous: bool = False) -> Any:
        """One client, kept as long as its pool."""
        if asynchronous:  # who waits for messages holds a connection of its own
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        pool, kept = self.pool, self._kept
        if kept is None or kept.connection_pool is not pool:
            self._kept = kept = super()._create_client()  # type: ignore[misc]
        return kept


class RedisChannel(_Mended, kombu_redis.Channel):
    pass


class SentinelChannel(_Mended, kombu_redis.SentinelChannel):
    pass


class RedisTransport(kombu_redis.Transport):
    Channel = RedisChannel


class SentinelTransport(kombu_redis.SentinelTransport):
    Channel = SentinelChannel


def use_mended() -> None:
    """From now on ``redis://``, ``rediss://`` and ``sentinel://`` mean these, with sockets and every failover too."""
    for scheme, transport in (("redis", RedisTransport), ("rediss", RedisTransport), ("sentinel", SentinelTransport)):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{transport.__name__}"
