"""The ledger of a supplier's permits in Redis, shared by all workers and hosts; each kind of work has a lane.

The limit per second is a pace: permits are evenly spaced and booked at most a moment ahead. The limits per hour and per
day (half a day for a gateway) are sliding windows: they hold for any span of this length, so no sequence of calls can
exceed them, however the supplier counts its hour. One script checks all limits and the gate, by the clock of Redis. So
a permit counts against all limits or none, and the clocks of the hosts don't matter. If Redis loses its data, we send
more calls than allowed; the supplier then answers 429, which closes the gate.

The floor of a lane is the share of the quota that is reserved for it. Other lanes may borrow the unused part of a
floor. A lane gets a permit only if the other lanes can still get the rest of their floors, spread evenly over the
coming window. For each moment of the coming window, only the calls that will still count at that moment are taken into
account. So no quota stays unused, and a lane that begins to work gets its floor back step by step, beginning at once.

A 429 closes the gate for all workers. The gate reopens by itself, gradually: within a minute the pace grows from a
twentieth to the full pace, so the first calls test whether the supplier is ready. If a call is refused while the gate
opens, or within ten minutes after that, the gate closes for twice as long as the supplier asked, the next time for four
times as long, and so on. The longer wait is at most an hour, unless the supplier itself asks for more. Calls that are
under way when the gate closes may all be refused; together they count as one refusal.

A permit is a text: the time in µs, the lane (1 to 5), and the API:

    1721880000250000/2/data
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from redis import Redis

from worker.domain.lanes import EQUAL_SHARES, LANES, QUOTA_LANES, Lane, Shares, current_lane
from worker.errors import CLASS_BY_CODE, RateLimited, SupplierLimited
from worker.metrics import GATE_CLOSINGS, PERMIT_WAIT, PERMITS_GIVEN_BACK, PERMITS_REFUSED
from worker.quota import lua_scripts
from worker.stores.redis.connection import PrefixedKeys

SECOND_MS: Final = 1000
HOUR_MS: Final = 3_600_000
RAMP_US: Final = 60_000_000  # After a closure, the gate opens gradually over this time.
# If there is no limit per second, the gate's ramp ends at four calls per second.
RAMP_SPACING_US: Final = 250_000
# Each window has this many buckets; in the hourly window a bucket is 22.5 s long. A call may wait up to one bucket
# longer than needed.
BUCKETS: Final = 160
# A lane that is above its floor leaves a four-hundredth of the limit to each lane that is served before it.
_LEFT: Final = 400
# A caller's patience is the longest wait that it accepts. A lane above its floor waits only for a percentage of this
# time; the lane that is served first has the first number. A lane that is served later waits less, so that the lanes
# before it can book permits further ahead.
_PERCENT_OF_PATIENCE: Final = (85, 65, 45, 25, 15)
# A caller waits for up to four slots of the pace, so that consecutive calls succeed even at one call per second.
_SLOTS_WAITED_FOR: Final = 4
_SHORTEST_WAIT_S: Final = 1.0
_SHORTEST_SLEEP_S: Final = 0.001
_JITTER: Final = 0.1
# The share of the full pace with which the gate begins to open; ``lua_scripts.TAKE_PERMIT`` contains the same number.
_FIRST_PACE: Final = 0.05
_REFUSAL_MEMORY_US: Final = RAMP_US + 600_000_000
# We lengthen a wait to at most this time. If the supplier itself asks for more, we wait as long as it asks.
_LONGEST_ADDED_US: Final = 3_600_000_000


def spacing_us(calls: int, window_ms: int = SECOND_MS) -> int:
    """Return the µs between two permits, chosen so that ``calls + 1`` permits in a row span 1.25 times the window.

    So a limit of 5 calls per second becomes 4 evenly spaced calls, and network jitter never moves six calls into one
    second. Four calls per second are still enough to use up Enedis' hourly limit.
    """
    return window_ms * 1250 // calls + 1


@dataclass(frozen=True, slots=True)
class QuotaSpan:
    """A limit of ``calls`` in any span of ``length_us``."""

    name: str
    calls: int
    length_us: int

    @property
    def bucket_us(self) -> int:
        """The length of a bucket. The script keeps one count for each bucket and lane."""
        return self.length_us // BUCKETS

    def numbers(self, lane: Lane, shares: Shares) -> list[int]:
        """Return the arguments of ``lua_scripts.TAKE_PERMIT`` for this window, in the script's order."""
        return [
            self.calls,
            self.bucket_us,
            (self.calls * _rank(lane, shares) + _LEFT // 2) // _LEFT,
            -(-self.calls * shares.ceiling(lane) // 100),
            *(self.calls * shares.floor(other) // 100 for other in QUOTA_LANES),
        ]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one supplier; None means no limit.

    ``second_ms`` and ``hour_ms`` differ from their defaults only in tests.
    """

    per_second: int | None = None
    per_hour: int | None = None
    per_day: int | None = None
    day_hours: int = 24  # The length, in hours, of the span to which ``per_day`` applies.
    shares: Shares = EQUAL_SHARES
    second_ms: int = SECOND_MS
    hour_ms: int = HOUR_MS

    @property
    def windows(self) -> tuple[QuotaSpan, ...]:
        """The limit per hour and the limit per day, if they are set."""
        limits = (("hourly", self.per_hour, self.hour_ms), ("daily", self.per_day, self.day_hours * HOUR_MS))
        return tuple(QuotaSpan(name, calls, length_ms * 1000) for name, calls, length_ms in limits if calls)

    @property
    def spacing_us(self) -> int:
        """The µs between two permits; 0 if there is no limit per second."""
        return spacing_us(self.per_second, self.second_ms) if self.per_second else 0

    @property
    def longest_wait_s(self) -> float:
        """The longest time that a caller waits for a permit: a few slots of the pace, but at least one second."""
        return max(_SHORTEST_WAIT_S, _SLOTS_WAITED_FOR * self.spacing_us / 1e6)

    def numbers(self, lane: Lane, longest_us: int) -> list[int]:
        """Return the arguments of ``lua_scripts.TAKE_PERMIT`` that are the same for all calls of ``lane``."""
        spacing, shares = self.spacing_us, self.shares
        floor = shares.floor(lane)
        percent = 100 if shares == EQUAL_SHARES else _PERCENT_OF_PATIENCE[_rank(lane, shares)]
        return [
            spacing,
            RAMP_US,
            spacing or RAMP_SPACING_US,
            longest_us,
            percent,
            spacing * 100 // floor if floor else 0,
            BUCKETS,
            len(QUOTA_LANES),
            int(LANES[lane].hard_ceiling),
            *(number for window in self.windows for number in window.numbers(lane, shares)),
        ]


def _rank(lane: Lane, shares: Shares) -> int:
    """Return how many lanes are served before this lane; 0 if all lanes have equal shares."""
    return 0 if shares == EQUAL_SHARES else QUOTA_LANES.index(lane)


@dataclass(frozen=True, slots=True)
class PermitDecision:
    """A permit, or the time after which to try again.

    If ``permit`` is a text, it may be used after ``wait_s`` seconds, that is at ``at_s`` by the clock of Redis. If
    ``permit`` is None, a permit may be free after ``wait_s`` seconds.
    """

    permit: str | None
    wait_s: float
    at_s: float


@dataclass(frozen=True, slots=True)
class QuotaState:
    """How much of a supplier's quota is used, and the state of the gate.

    ``hours``: the span of the limit per day, or 1 if there is no limit per day. ``used``: for each API, the number of
    permits in the last ``hours``. ``limit``: the limit of each API in this span; None if there is none. ``opens_in_s``:
    the seconds until the gate opens; 0 if the gate is open. ``gate_code``: the code of the error that closed the gate.
    """

    used: dict[str, int]
    limit: int | None
    hours: int
    opens_in_s: float
    gate_code: str = ""

    @property
    def span(self) -> str:
        """The span to which ``used`` applies, in words: "hour", "12 hours" or "day"."""
        return {1: "hour", 24: "day"}.get(self.hours, f"{self.hours} hours")


class QuotaLedger(PrefixedKeys):
    """The ledger of one supplier. Its methods raise StoreUnavailable if Redis fails.

    The limits may change between two starts, because Redis stores only the permits that were taken. ``clock_us``
    replaces the clock of Redis in simulations. The lengths of the windows and ``max_wait_s`` are passed only by tests
    and benchmarks.
    """

    def __init__(
        self,
        redis: Redis,
        supplier: str,
        limits: Limits,
        *,
        prefix: str = "releve:",
        max_wait_s: float | None = None,
        sleep: Callable[[float], None] = time.sleep,
        clock_us: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(redis, prefix)
        self.per_hour, self.per_day, self.day_hours = limits.per_hour, limits.per_day, limits.day_hours
        self._supplier = supplier
        self._max_wait_s = limits.longest_wait_s if max_wait_s is None else max_wait_s
        self._sleep = sleep
        self._windows = limits.windows
        self._clock_us = clock_us  # If this returns 0, the scripts use the clock of Redis.
        self._gate_key = self._key("gate", supplier, "state")
        longest_us = math.ceil(self._max_wait_s * 1e6)
        self._script_numbers = {lane: limits.numbers(lane, longest_us) for lane in QUOTA_LANES}
        self._take_script = redis.register_script(lua_scripts.TAKE_PERMIT)
        self._close_script = redis.register_script(lua_scripts.CLOSE_GATE)

    def take_permit(self, api: str) -> str:
        """Take a permit, and return it when it may be used; wait for at most a few slots of the pace.

        ``api`` is the name under which the supplier counts the call. Raises RateLimited, with the time to wait, if
        there is no permit in time; then nothing is taken. If the wait is known to be too long, the error is raised at
        once. Between two tries, each caller sleeps a little longer than necessary, so that callers don't all try at the
        same time.
        """
        waited_s = 0.0
        while (decision := self.try_permit(api, self._max_wait_s - waited_s)).permit is None:
            again_s = max(decision.wait_s, _SHORTEST_SLEEP_S) * (1 + _JITTER * random.random())
            if waited_s + again_s > self._max_wait_s:
                raise self._refusal(decision.wait_s)
            self._sleep(again_s)
            waited_s += again_s
        if decision.wait_s > 0:
            self._sleep(decision.wait_s)
            # The gate may have been closed during the sleep.
            if (closed_s := self.closed_for_s()) > 0:
                self.release_permit(decision.permit)
                raise self._refusal(closed_s)
        PERMIT_WAIT.labels(current_lane()).observe(waited_s + decision.wait_s)
        return decision.permit

    def try_permit(self, api: str, patience_s: float = 0.0) -> PermitDecision:
        """Take a permit for the lane of this thread, if all limits allow a permit within ``patience_s``.

        Otherwise the decision has no permit, but says when to try again.
        """
        lane = LANES[current_lane()].quota_lane
        keys = [self._gate_key, self._key("permit", self._supplier, api, "pace"), *self._window_keys(api)]
        number = QUOTA_LANES.index(lane) + 1
        args = [self._clock_us(), int(patience_s * 1e6), number, *self._script_numbers[lane]]
        granted, wait_us, now_us, *at_us = self._take_script(keys=keys, args=args)
        if not granted:
            return PermitDecision(None, wait_us / 1e6, (now_us + wait_us) / 1e6)
        return PermitDecision(f"{at_us[0]}/{number}/{api}", wait_us / 1e6, int(at_us[0]) / 1e6)

    def release_permit(self, permit: str) -> None:
        """Give back the permit of a call that was never sent. The call's slot in the pace stays used."""
        at_us, lane, api = permit.split("/", 2)
        with self._redis.pipeline() as pipe:
            for key, window in zip(self._window_keys(api), self._windows, strict=True):
                # If the bucket has left the window, its count becomes -1, but the window doesn't include it any more.
                pipe.hincrby(key, f"{int(at_us) // window.bucket_us}:{lane}", -1)
                pipe.pexpire(key, 2 * window.length_us // 1000)
            pipe.execute()
        PERMITS_GIVEN_BACK.inc()

    def close_gate(self, retry_after_s: float, permit: str = "", code: str = "") -> None:
        """Close the gate for all workers and APIs, unless the gate is already closed for longer.

        ``permit`` is the permit of the refused call, if known. ``code`` is the code of that call's error, with which
        all calls fail until the gate opens.
        """
        if retry_after_s <= 0:
            return
        at_us, wait_us = int(permit.partition("/")[0] or 0), int(retry_after_s * 1e6)
        args: list[str | int] = [self._clock_us(), wait_us, at_us, _REFUSAL_MEMORY_US, _LONGEST_ADDED_US, code]
        self._close_script(keys=[self._gate_key], args=args)
        GATE_CLOSINGS.inc()

    def closed_for_s(self) -> float:
        """Return the seconds until the gate begins to open; 0 if it is open, or opening gradually."""
        return self.gate_state()[0]

    def gate_state(self) -> tuple[float, float]:
        """Return the seconds until the gate begins to open, and the share of the full pace that the gate allows now."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(self._gate_key, "shut_at", "until")
            pipe.time()
            (shut_at, until), (seconds, microseconds) = pipe.execute()
        shut_at_us, opens_us = int(shut_at or 0), int(until or 0)
        now_us = self._clock_us() or int(seconds) * 1_000_000 + int(microseconds)
        # If the gate was closed at a time in the future, the clock has been set back since; the gate counts as open.
        if now_us < shut_at_us or now_us >= opens_us + RAMP_US:
            return 0.0, 1.0
        if now_us < opens_us:
            return (opens_us - now_us) / 1e6, 0.0
        return 0.0, max(_FIRST_PACE, (now_us - opens_us) / RAMP_US)

    def used_by_lane(self, api: str) -> dict[Lane, int]:
        """Return how many permits each lane took in the last hour, except released ones; 0 without a limit per hour."""
        return self._used_within("hourly", api)

    def used_in_a_day(self, api: str) -> int:
        """Return the number of permits of the last ``day_hours``, except released ones; 0 without a limit per day."""
        return sum(self._used_within("daily", api).values())

    def state(self, apis: Iterable[str]) -> QuotaState:
        """Return how much of the quota of these APIs is used, and when the gate opens."""
        used = {api: self.used_in_a_day(api) if self.per_day else sum(self.used_by_lane(api).values()) for api in apis}
        hours, opens_in_s = self.day_hours if self.per_day else 1, self.closed_for_s()
        code = self._gate_code() if opens_in_s else ""
        return QuotaState(used, self.per_day or self.per_hour, hours, opens_in_s, code)

    def calls_left(self, api: str) -> int:
        """Return how many calls the limit per day still allows now. Raises ValueError if there is no limit per day."""
        if self.per_day is None:
            raise ValueError(f"{self._supplier} has no daily limit")
        return max(0, self.per_day - self.used_in_a_day(api))

    def _gate_code(self) -> str:
        return str(self._redis.hget(self._gate_key, "code") or "")

    def _used_within(self, span: str, api: str) -> dict[Lane, int]:
        used = dict.fromkeys(QUOTA_LANES, 0)
        for window in (window for window in self._windows if window.name == span):
            oldest = self._now_us() // window.bucket_us - BUCKETS
            for name, count in self._redis.hgetall(self._key("permit", self._supplier, api, window.name)).items():
                # A field such as 76528000:2 has the number of permits of lane 2 in bucket 76528000; a field such as
                # wanted2 has a time.
                bucket, _, lane = str(name).partition(":")
                if lane and int(bucket) >= oldest:
                    used[QUOTA_LANES[int(lane) - 1]] += int(count)
        return used

    def _now_us(self) -> int:
        if now_us := self._clock_us():
            return now_us
        seconds, microseconds = self._redis.time()
        return int(seconds) * 1_000_000 + int(microseconds)

    def _window_keys(self, api: str) -> list[str]:
        return [self._key("permit", self._supplier, api, window.name) for window in self._windows]

    def _refusal(self, retry_after_s: float) -> RateLimited:
        PERMITS_REFUSED.labels(current_lane()).inc()
        if self.closed_for_s() > 0:
            named = CLASS_BY_CODE.get(self._gate_code(), SupplierLimited)
            error_class = named if issubclass(named, SupplierLimited) else SupplierLimited
            return error_class(error_class.while_closed.format(self._supplier), retry_after_s=retry_after_s)
        return RateLimited(
            f"rate limit of {self._supplier} reached: the call waits for its turn", retry_after_s=retry_after_s
        )
