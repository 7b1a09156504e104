"""The permit ledger of one supplier, shared by all workers, and the gate that a 429 closes for everybody.

The second is a GCRA (a bucket that remembers one instant): grants come evenly spaced.  The hour is a sliding
count in buckets of half a minute: a new account's first screen need not wait for the hour to pass, and the
whole quota can be used.  Both are asked in one script by the server's own clock, so a permit is taken of all
limits or of none, and clocks of hosts don't matter.  Redis emptied costs some refusals by the supplier: a 429
closes the gate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from redis import Redis

from worker.errors import RateLimited
from worker.lanes import current_lane
from worker.metrics.work import GATE_CLOSINGS, PERMIT_WAIT, PERMITS_REFUSED
from worker.stores.redis_link import PrefixedKeys, redis_errors

SECOND_MS: Final = 1000
HOUR_MS: Final = 3_600_000

BUCKETS: Final = 120

# KEYS: the gate, the second, the hour.  ARGV: spacing in µs (0: no such limit); calls an hour (0: none), length
# of a bucket in µs, number of buckets.  Gives {µs to wait, µs now}.
# What is kept is never believed to lie in the future: a raised limit counts at once, and a server clock set back
# does not close the ledger.
_TAKE = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local closed_ms = redis.call('PTTL', KEYS[1])
if closed_ms > 0 then return {closed_ms * 1000, now} end

local spacing, calls, bucket_us, buckets = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local wait = 0
if spacing > 0 then
  local due = tonumber(redis.call('GET', KEYS[2]) or now)
  wait = math.min(due, now + spacing) - now
end

local bucket = math.floor(now / bucket_us)
if calls > 0 then
  local used, oldest = 0, bucket
  local counts = redis.call('HGETALL', KEYS[3])
  for i = 1, #counts, 2 do
    local index = tonumber(counts[i])
    if index < bucket - buckets then
      redis.call('HDEL', KEYS[3], counts[i])
    else
      used = used + tonumber(counts[i + 1])
      oldest = math.min(oldest, index)
    end
  end
  if used >= calls then wait = math.max(wait, (oldest + buckets + 1) * bucket_us - now) end
end

if wait > 0 then return {math.ceil(wait), now} end
if spacing > 0 then
  redis.call('SET', KEYS[2], string.format('%.0f', now + spacing), 'PX', math.ceil(spacing / 1000))
end
if calls > 0 then
  redis.call('HINCRBY', KEYS[3], string.format('%.0f', bucket), 1)
  redis.call('PEXPIRE', KEYS[3], math.ceil((buckets + 2) * bucket_us / 1000))
end
return {0, now}
"""

_CLOSE = """
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[1]) then redis.call('SET', KEYS[1], 'closed', 'PX', ARGV[1]) end
"""


def spacing_us(calls: int, window_ms: int = SECOND_MS) -> int:
    """Between two grants, so that ``calls + 1`` in a row span a quarter more than the window.

    5 a second become 4 even ones: more than any hourly limit lets through, and proof against jitter.
    """
    return window_ms * 1250 // calls + 1


@dataclass(frozen=True, slots=True)
class Decision:
    """``wait_s`` is 0 where the permit was taken; ``at_s`` is the server's time of the decision."""

    wait_s: float
    at_s: float


class QuotaLedger(PrefixedKeys):
    """Limits of None are none.  They may differ from those of yesterday: only what was granted is kept in Redis.

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
        bucket_us = hour_ms * 1000 // BUCKETS
        self._limits = (spacing_us(per_second, second_ms) if per_second else 0, per_hour or 0, bucket_us, BUCKETS)
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
                PERMITS_REFUSED.labels(current_lane()).inc()
                # after a wait in vain the queue is longer than the next permit tells: as long as we stood in it
                raise RateLimited(f"no permit of {self._supplier} in time", retry_after_s=waited_s + wait_s)
            self._sleep(wait_s)
            waited_s += wait_s
        PERMIT_WAIT.labels(current_lane()).observe(waited_s)

    @redis_errors()
    def take(self, api: str) -> Decision:
        """Take one permit of every limit if all have one, without waiting."""
        keys = [self._key("permit", self._supplier, api, limit) for limit in ("second", "hour")]
        wait_us, now_us = self._take(keys=[self._gate_key, *keys], args=self._limits)
        return Decision(wait_us / 1e6, now_us / 1e6)

    @redis_errors()
    def used(self, api: str) -> int:
        """Permits granted within the last hour; 0 where there is no such limit, for then nobody counts."""
        _, _, bucket_us, buckets = self._limits
        seconds, micros = self._redis.time()
        oldest = (int(seconds) * 1_000_000 + int(micros)) // bucket_us - buckets
        counts = self._redis.hgetall(self._key("permit", self._supplier, api, "hour"))
        return sum(int(count) for bucket, count in counts.items() if int(bucket) >= oldest)

    @redis_errors()
    def close(self, retry_after_s: float) -> None:
        """Close the gate for everybody, all APIs; one that is closed for longer stays so."""
        if retry_after_s > 0:
            self._close(keys=[self._gate_key], args=[math.ceil(retry_after_s * 1000)])
            GATE_CLOSINGS.inc()

    @redis_errors()
    def closed_for_s(self) -> float:
        """0 where the gate is open."""
        return max(0, int(self._redis.pttl(self._gate_key))) / 1000
