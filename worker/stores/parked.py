"""Messages that wait for their countdown: no queue's length shows them, for a worker holds them meanwhile.

Without this count a long shortage of permits would empty the queues into the workers' memory, and whoever paces
himself by the length of a queue would go on filling it.
"""

from __future__ import annotations

import math
from typing import Any, Final

from redis import Redis

from worker.stores.redis.connection import PrefixedKeys, redis_errors

# KEYS: a sorted set of messages by the moment (ms, the server's clock) at which each comes back.
_NOW: Final = """
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
"""
# ARGV: message, ms to wait.
_PARK: Final = (
    _NOW
    + """
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], math.max(redis.call('PTTL', KEYS[1]), ARGV[2] + 60000))
"""
)
_COUNT: Final = _NOW + "return redis.call('ZCARD', KEYS[1])"


class Parked(PrefixedKeys):
    """Every method raises StoreUnavailable."""

    def __init__(self, redis: Redis, prefix: str = "releve:") -> None:
        super().__init__(redis, prefix)
        self._park: Any = redis.register_script(_PARK)
        self._count_parked: Any = redis.register_script(_COUNT)

    @redis_errors()
    def park(self, queue: str, message_id: str, delay_s: float) -> None:
        """This message comes back in ``delay_s``; told again, its new time holds."""
        self._park(keys=[self._key("parked", queue)], args=[message_id, math.ceil(delay_s * 1000)])

    @redis_errors()
    def parked(self, queue: str) -> int:
        """How many of the queue's messages wait for their time."""
        return int(self._count_parked(keys=[self._key("parked", queue)]))
