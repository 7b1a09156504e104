"""kombu's way to Redis, with fewer steps for each message; what lies in Redis is the same.

Seen in profiles of a night (docs/reference/benchmarks.md), kombu 5.7 and redis-py 8.1:

- a new client for nearly every command, which costs more than the command: here one a channel and pool;
- a transaction of four commands to note what is not acknowledged, and another to strike it out.  Two commands in one
  packet are enough.  Where only the first arrives, the message stands in its worker's hash without an age, or its age
  without a message: the first is given back with the hash when the worker is gone (worker/presence.py), the second
  means nothing.
"""

from __future__ import annotations

from time import time
from typing import Any

from kombu.transport import TRANSPORT_ALIASES, virtual
from kombu.transport.redis import Channel as RedisChannel
from kombu.transport.redis import QoS as RedisQoS
from kombu.transport.redis import Transport as RedisTransport
from kombu.utils.json import dumps


class QoS(RedisQoS):
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


class OneClient:
    """For a Channel: its client is kept as long as its pool."""

    _kept: Any = None

    def _create_client(self, asynchronous: bool = False) -> Any:
        if asynchronous:  # who waits for messages holds a connection of its own
            return super()._create_client(asynchronous=True)  # type: ignore[misc]
        pool = self.pool  # type: ignore[attr-defined]
        kept = self._kept
        if kept is None or kept.connection_pool is not pool:
            self._kept = kept = super()._create_client()  # type: ignore[misc]
        return kept


class Channel(OneClient, RedisChannel):
    QoS = QoS


class Transport(RedisTransport):
    Channel = Channel


def use_for_redis() -> None:
    """From now on ``redis://``, ``rediss://`` and sockets mean this one."""
    TRANSPORT_ALIASES["redis"] = TRANSPORT_ALIASES["rediss"] = f"{__name__}:{Transport.__name__}"
