"""kombu's way to Redis behind Sentinels, mended: a worker outlives the leader's death.

kombu 5.7 closes a broken channel twice.  The second time it builds a new pool for it out of a connection that is gone
already, and the AttributeError ends the worker.  Said as a lost connection it is what the worker expects, and it
connects anew.  Seen with a killed leader (tests/acceptance/test_sentinel.py); no upstream issue was found.
"""

from __future__ import annotations

from typing import Any

import redis
from kombu.transport import TRANSPORT_ALIASES
from kombu.transport.redis import SentinelChannel, SentinelTransport

from worker.redis_transport import OneClient, QoS


class Channel(OneClient, SentinelChannel):
    QoS = QoS

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if self.connection.client is None:
            raise redis.ConnectionError("this channel's connection is closed")
        parameters: dict[str, Any] = super()._connparams(asynchronous)  # type: ignore[misc]  # no stub knows it
        return parameters


class Transport(SentinelTransport):
    Channel = Channel


def use_for_sentinels() -> None:
    """From now on ``sentinel://`` means this one, with every failover too."""
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:{Transport.__name__}"
