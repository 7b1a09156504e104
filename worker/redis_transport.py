"""kombu's ways to Redis, mended: a worker outlives the loss of its broker, at whatever moment it comes.

kombu 5.7 closes a broken channel twice.  The second time it builds a new pool for it out of a connection that is gone
already, and the AttributeError ends the worker ("Unrecoverable error").  Said as a lost connection it is what the
worker expects, and it connects anew.  Seen with a killed leader behind Sentinels and with a plain Redis that went away
while tasks were being acknowledged (tests/acceptance: test_sentinel.py, test_watchdog.py); no upstream issue was found.
"""

from __future__ import annotations

from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport import redis as kombu_redis


class _Mended:
    """Before either Channel: without a connection there are no parameters for a pool."""

    connection: Any

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection is None or self.connection.client is None:
            raise redis.ConnectionError("this channel's connection is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # it stands before one
        return parameters


class Channel(_Mended, kombu_redis.Channel):
    pass


class SentinelChannel(_Mended, kombu_redis.SentinelChannel):
    pass


class Transport(kombu_redis.Transport):
    Channel = Channel


class SentinelTransport(kombu_redis.SentinelTransport):
    Channel = SentinelChannel


def use_mended() -> None:
    """From now on ``redis://``, ``rediss://`` and ``sentinel://`` mean these, with every failover too."""
    for scheme, transport in (("redis", Transport), ("rediss", Transport), ("sentinel", SentinelTransport)):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:{transport.__name__}"
