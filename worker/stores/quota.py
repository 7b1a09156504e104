"""The permit ledger of one supplier, shared by all workers, and the gate that a 429 closes for everybody.

Each limit is a GCRA (a bucket that remembers one instant): grants come ``spacing`` apart, after a first burst.
All limits are asked in one script by the server's own clock, so a permit is taken of all of them or of none,
and clocks of hosts don't matter.  Redis emptied costs one more burst, which the supplier answers with a 429.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from redis import Redis

from worker.errors import RateLimited
from worker.stores.redis_link import PrefixedKeys, redis_errors

SECOND_MS: Final = 1000
HOUR_MS: Final = 3_600_000

# KEYS: the gate, then a key a limit.  ARGV: spacing in µs and burst, a pair a limit.  Gives {µs to wait, µs now}.
# The instant kept is never believed further ahead than these limits could put it: so a raised limit counts at
# once, and a server clock set back does not close the ledger.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local closed_ms = redis.call('PTTL', KEYS[1])
if closed_ms > 0 then return {closed_ms * 1000, now} end
local wait, free_at = 0, {}
for i = 2, #KEYS do
  local spacing, burst = tonumber(ARGV[2 * i - 3]), tonumber(ARGV[2 * i - 2])
  local due = tonumber(redis.call('GET', KEYS[i]) or now)
  due = math.min(math.max(due, now), now + burst * spacing)
  wait = math.max(wait, due - (burst - 1) * spacing - now)
  free_at[i] = due + spacing
end
if wait > 0 then return {math.ceil(wait), now} end
for i = 2, #KEYS do
  local life_ms = math.ceil((free_at[i] - now) / 1000)
  redis.call('SET', KEYS[i], string.format('%.0f', free_at[i]), 'PX', life_ms)
end
return {0, now}
"""

_CLOSE = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], 'closed', 'PX', ARGV[1]) end
"""


@dataclass(frozen=True, slots=True)
class Limit:
    """At most ``calls`` in any ``window_ms``, wherever the window begins.

    The law holds where ``calls + 1`` grants in a row span more than the window.  ``guard`` is the share of the
    window by which they do: room for a call that reaches the supplier later than the one after it.
    """

    name: str
    calls: int
    window_ms: int
    burst: int
    guard: float

    @property
    def spacing_us(self) -> int:
        """Between two grants, once the burst is used up."""
        window_us = self.window_ms * 1000 * (1 + self.guard)
        return math.floor(window_us / (self.calls - self.burst + 1)) + 1


def per_second_limit(calls: int, window_ms: int = SECOND_MS) -> Limit:
    """5 a second become 4 even ones: more than any hourly limit lets through, and proof against jitter."""
    return Limit("second", calls, window_ms, burst=1, guard=0.25)


def per_hour_limit(calls: int, window_ms: int = HOUR_MS) -> Limit:
    """A burst of 1 %, and 98.7 % of the quota in use over the hours."""
    return Limit("hour", calls, window_ms, burst=max(1, calls // 100), guard=0.0025)


@dataclass(frozen=True, slots=True)
class Decision:
    """``wait_s`` is 0 where the permit was taken; ``at_s`` is the server's time of the decision."""

    wait_s: float
    at_s: float


class QuotaLedger(PrefixedKeys):
    """Limits of None are none.  They may differ from those of yesterday: only the instant is kept in Redis.

    The windows are arguments for tests alone.
    """

    def __init__(
        self,
        redis: Redis,
        supplier: str,
        *,
        per_second: int | None,
        per_hour: int | None,
        prefix: str = "releve:",
        max_wait_s: float = 2.0,
        sleep: Callable[[float], None] = time.sleep,
        second_ms: int = SECOND_MS,
        hour_ms: int = HOUR_MS,
    ) -> None:
        super().__init__(redis, prefix)
        self._supplier = supplier
        self._max_wait_s = max_wait_s
        self._sleep = sleep
        self._limits: list[Limit] = []
        if per_second is not None:
            self._limits.append(per_second_limit(per_second, second_ms))
        if per_hour is not None:
            self._limits.append(per_hour_limit(per_hour, hour_ms))
        self._gate_key = self._key("gate", supplier)
        self._take = redis.register_script(_TAKE)
        self._close = redis.register_script(_CLOSE)

    def enter(self, api: str) -> None:
        """Come back with one permit of every limit, after at most ``max_wait_s`` in all.

        ``api`` tells limits apart where the supplier has some for each; otherwise always the same word.
        Raises RateLimited with the wait, having taken nothing: at once where it is known to be longer.
        """
        waited_s = 0.0
        while (wait_s := self.take(api).wait_s) > 0:
            if waited_s + wait_s > self._max_wait_s:
                # after a wait in vain the queue is longer than the next permit tells: as long as we stood in it
                raise RateLimited(f"no permit of {self._supplier} in time", retry_after_s=waited_s + wait_s)
            self._sleep(wait_s)
            waited_s += wait_s

    @redis_errors()
    def take(self, api: str) -> Decision:
        """Take one permit of every limit if all have one, without waiting."""
        keys = [self._key("permit", self._supplier, api, limit.name) for limit in self._limits]
        arguments = [number for limit in self._limits for number in (limit.spacing_us, limit.burst)]
        wait_us, now_us = self._take(keys=[self._gate_key, *keys], args=arguments)
        return Decision(wait_us / 1e6, now_us / 1e6)

    @redis_errors()
    def close(self, retry_after_s: float) -> None:
        """Close the gate for everybody, all APIs; one that is closed for longer stays so."""
        if retry_after_s > 0:
            self._close(keys=[self._gate_key], args=[math.ceil(retry_after_s * 1000)])

    @redis_errors()
    def closed_for_s(self) -> float:
        """0 where the gate is open."""
        return max(0, int(self._redis.pttl(self._gate_key))) / 1000
