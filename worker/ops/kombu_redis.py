"""kombu's Redis transports with a fix for lost connections.

A worker must survive the loss of its broker at any moment.  kombu 5.7 closes a broken channel twice, and the second
time it builds a new pool from a connection that no longer exists.  The AttributeError ends the worker ("Unrecoverable
error").  Raised as a lost connection, the worker expects it and connects again.  Seen with a killed leader behind
Sentinels, and with a plain Redis that went away while tasks were acknowledged (tests/acceptance: test_sentinel.py,
test_watchdog.py).  No upstream issue was found.
"""

from __future__ import annotations

from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis


class _ResilientChannel:
    """Mixin with the fix, to be placed before either of kombu's channel classes."""

    connection: Any

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        """Return the parameters of a connection pool.

        Raises redis.ConnectionError, which Celery expects, where the channel has no connection any more.
        """
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("this channel's connection is closed")
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
