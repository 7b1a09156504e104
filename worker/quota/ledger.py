"""The permit ledger of one supplier, shared by all workers and hosts, with a lane for each kind of work.

The second is a pace: permits are booked evenly spaced, at most a moment ahead.  The hour (and the day, where there is
one) is a sliding count, safe whichever way the supplier counts its hour.  All limits and the gate are asked in one
script by the server's own clock, so a permit is taken of all or of none, and clocks of hosts don't matter.  Redis
emptied costs some refusals by the supplier: a 429 closes the gate (``worker.quota.gate``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from redis import Redis

from worker.domain.fleet.lanes import ALL_ALIKE, QuotaLane, Shares, current_lane, current_quota_lane
from worker.errors import RateLimited
from worker.metrics import PERMIT_WAIT, PERMITS_GIVEN_BACK, PERMITS_REFUSED
from worker.quota import scripts
from worker.quota.gate import Gate
from worker.quota.limits import DAY_MS, HOUR_MS, LANES, RAMP_S, SECOND_MS, Limits
from worker.stores.redis.connection import PrefixedKeys, redis_errors

MAX_WAIT_S: Final = 1.0
_SHORTEST_SLEEP_S: Final = 0.001


@dataclass(frozen=True, slots=True)
class Decision:
    """``permit``: what was taken, usable after ``wait_s``, at ``at_s`` by the server's clock; None where nothing was.

    Then one may be free after ``wait_s``, and who asks again after ``come_again_s`` meets no crowd.
    """

    permit: str | None
    wait_s: float
    at_s: float
    come_again_s: float = 0.0


class QuotaLedger(PrefixedKeys):
    """Limits of None are none.  They may differ from those of yesterday: only what was granted is kept in Redis.

    ``clock_us``: µs in place of the server's clock, for simulations.  The lengths of the windows are arguments for
    tests and benchmarks alone.
    """

    def __init__(
        self,
        redis: Redis,
        supplier: str,
        *,
        per_second: int | None,
        per_hour: int | None,
        per_day: int | None = None,
        shares: Shares = ALL_ALIKE,
        prefix: str = "releve:",
        max_wait_s: float = MAX_WAIT_S,
        sleep: Callable[[float], None] = time.sleep,
        clock_us: Callable[[], int] | None = None,
        ramp_s: float = RAMP_S,
        second_ms: int = SECOND_MS,
        hour_ms: int = HOUR_MS,
        day_ms: int = DAY_MS,
    ) -> None:
        super().__init__(redis, prefix)
        limits = Limits(per_second, per_hour, per_day, second_ms, hour_ms, day_ms)
        self._supplier = supplier
        self._max_wait_s = max_wait_s
        self._sleep = sleep
        self._windows = limits.windows
        self.gate = Gate(redis, supplier, prefix, ramp_s=ramp_s, clock_us=clock_us)
        longest_us = math.ceil(max_wait_s * 1e6)
        self._numbers = {lane: limits.numbers(lane, shares, longest_us, self.gate.ramp_us) for lane in LANES}
        self._take = redis.register_script(scripts.TAKE)
        self._give_back = redis.register_script(scripts.GIVE_BACK)

    def enter(self, api: str) -> str:
        """Come back with one permit of every limit, after at most ``max_wait_s`` in all.

        ``api`` tells limits apart where the supplier has some for each; otherwise always the same word.
        Raises RateLimited with the wait, having taken nothing: at once where it is known to be longer.
        """
        waited_s = 0.0
        while (decision := self.take(api, self._max_wait_s - waited_s)).permit is None:
            again_s = max(decision.come_again_s, _SHORTEST_SLEEP_S)
            if waited_s + again_s > self._max_wait_s:
                # after a wait in vain the queue is longer than the next permit tells: as long as we stood in it
                raise self._refusal(waited_s + again_s)
            self._sleep(again_s)
            waited_s += again_s
        if decision.wait_s > 0:
            self._sleep(decision.wait_s)
            if (closed_s := self.gate.closed_for_s()) > 0:  # meanwhile
                self.give_back(decision.permit)
                raise self._refusal(closed_s)
        PERMIT_WAIT.labels(current_lane()).observe(waited_s + decision.wait_s)
        return decision.permit

    @redis_errors()
    def take(self, api: str, patience_s: float = 0.0) -> Decision:
        """Take one permit of every limit if all have one within ``patience_s``; for the lane of this thread."""
        lane = current_quota_lane()
        keys = [self.gate.key, self._key("permit", self._supplier, api, "pace"), *self._window_keys(api)]
        asked = [self.gate.now_us, int(patience_s * 1e6), LANES.index(lane) + 1, *self._numbers[lane]]
        granted, wait_us, now_us, *rest = self._take(keys=keys, args=asked)
        if not granted:
            return Decision(None, wait_us / 1e6, (now_us + wait_us) / 1e6, rest[0] / 1e6)
        at_us, *sources = rest
        permit = "/".join((str(at_us), str(LANES.index(lane) + 1), *sources, api))
        return Decision(permit, wait_us / 1e6, int(at_us) / 1e6)

    @redis_errors()
    def give_back(self, permit: str) -> None:
        """Undo the count of a call that was never sent.  The pace goes on as if it had been."""
        at_us, lane, *rest = permit.split("/", 2 + len(self._windows))
        if keys := self._window_keys(rest.pop()):
            told = [word for pair in zip(rest, (str(w.bucket_us) for w in self._windows), strict=True) for word in pair]
            self._give_back(keys=keys, args=[self.gate.now_us, lane, at_us, *told])
        PERMITS_GIVEN_BACK.inc()

    def close(self, retry_after_s: float, permit: str = "") -> None:
        """Close the gate for everybody, all APIs; one that is closed for longer stays so."""
        self.gate.close(retry_after_s, int(permit.partition("/")[0] or 0))

    def closed_for_s(self) -> float:
        """0 where the gate is open."""
        return self.gate.closed_for_s()

    def held(self) -> bool:
        """Whether it is no use to hand out more work: the gate is closed."""
        return self.closed_for_s() > 0

    def used(self, api: str) -> int:
        """Permits granted within the last hour, less what was given back; 0 where there is no such limit."""
        return sum(self.used_by_lane(api).values())

    @redis_errors()
    def used_by_lane(self, api: str) -> dict[QuotaLane, int]:
        used = dict.fromkeys(LANES, 0)
        for window in (window for window in self._windows if window.name == "hourly"):
            oldest = self._now_us() // window.bucket_us - window.length_us // window.bucket_us
            for name, count in self._redis.hgetall(self._key("permit", self._supplier, api, window.name)).items():
                bucket, _, counted = str(name).partition(":")
                if counted.startswith("u") and int(bucket) >= oldest:
                    used[LANES[int(counted[1:]) - 1]] += int(count)
        return used

    def _now_us(self) -> int:
        if now_us := self.gate.now_us:
            return now_us
        seconds, micros = self._redis.time()
        return int(seconds) * 1_000_000 + int(micros)

    def _window_keys(self, api: str) -> list[str]:
        return [self._key("permit", self._supplier, api, window.name) for window in self._windows]

    def _refusal(self, retry_after_s: float) -> RateLimited:
        PERMITS_REFUSED.labels(current_lane()).inc()
        return RateLimited(f"no permit of {self._supplier} in time", retry_after_s=retry_after_s)
