"""Rate limits by token, session, browser and address, counted in Redis for all processes together.

A window begins with the first call of a subject and ends by its key's expiry. So at the border of two windows a subject
may make up to twice its calls within a short time, which is accepted: the limits are there against thousands of tries.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from worker.stores.redis.connection import PrefixedKeys


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit: ``calls`` in a window of ``window_s`` seconds, under the name that its keys in Redis carry."""

    name: str
    calls: int
    window_s: int = 60


class RateLimiter(PrefixedKeys):
    """Call counter. Every method raises StoreUnavailable: without a count, no call is allowed.

    The key ``releve:limit:api:token:5f2c`` has the number of calls of its window.
    """

    def count_call(self, rate: Rate, subject: str) -> int:
        """Count a call of ``subject``. Return 0 where it may go on, else the seconds until the next may."""
        key = self._key("limit", rate.name, subject)
        with self._redis.pipeline() as pipe:
            pipe.set(key, 0, ex=rate.window_s, nx=True)
            pipe.incr(key)
            pipe.pttl(key)
            _, calls, left_ms = pipe.execute()
        return math.ceil(left_ms / 1000) if calls > rate.calls else 0

    def closed_for_s(self, rate: Rate, subject: str) -> int:
        """Return the same as ``count_call`` without counting a call."""
        key = self._key("limit", rate.name, subject)
        with self._redis.pipeline() as pipe:
            pipe.get(key)
            pipe.pttl(key)
            calls, left_ms = pipe.execute()
        return math.ceil(left_ms / 1000) if int(calls or 0) >= rate.calls else 0
