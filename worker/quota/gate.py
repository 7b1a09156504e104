"""The gate of a supplier: a 429 closes it for all workers, and it opens by itself, slowly.

After it opens, the pace grows from a twentieth to the whole within a minute, so that the first calls test whether the
supplier is ready. If a call is refused within ten minutes of an opening, the gate closes for twice as long as the
supplier asked, then four times, up to an hour. Calls that are under way when it closes may all be refused: together
they count as one refusal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from redis import Redis

from worker.metrics import GATE_CLOSINGS
from worker.quota import scripts
from worker.quota.limits import RAMP_S
from worker.stores.redis.connection import PrefixedKeys, redis_errors

# The same as in ``scripts.TAKE_PERMIT``.
_FIRST_PACE: Final = 0.05
_STATE_LIFE_S: Final = 600.0
# This limits what we add; the wait that the supplier asks for has no limit here.
_LONGEST_ADDED_S: Final = 3600.0


class Gate(PrefixedKeys):
    """The gate of one supplier in Redis; every method raises StoreUnavailable.

    ``clock_us`` returns µs in place of the server's clock, for simulations whose time passes faster than ours.
    """

    def __init__(
        self,
        redis: Redis,
        supplier: str,
        prefix: str,
        *,
        ramp_s: float = RAMP_S,
        clock_us: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(redis, prefix)
        self.key = self._key("gate", supplier, "state")
        self.ramp_us = int(ramp_s * 1e6)
        self._clock_us = clock_us
        self._close_script = redis.register_script(scripts.CLOSE_GATE)

    @property
    def now_us(self) -> int:
        """The time of ``clock_us`` in µs, or 0 for the server's clock."""
        return self._clock_us() if self._clock_us else 0

    @redis_errors()
    def close(self, retry_after_s: float, permit_at_us: int = 0) -> None:
        """Close the gate for all workers, unless it is closed for longer already.

        ``permit_at_us`` is the moment of the refused call's permit, or 0 if it is unknown.
        """
        if retry_after_s <= 0:
            return
        memory_us = self.ramp_us + int(_STATE_LIFE_S * 1e6)
        wait_us, longest_us = int(retry_after_s * 1e6), int(_LONGEST_ADDED_S * 1e6)
        self._close_script(keys=[self.key], args=[self.now_us, wait_us, permit_at_us, memory_us, longest_us])
        GATE_CLOSINGS.inc()

    def closed_for_s(self) -> float:
        """Return the seconds until it opens; 0 if it is open, even if only a little."""
        return self.state()[0]

    @redis_errors()
    def state(self) -> tuple[float, float]:
        """Return the seconds until it opens, and the share of the full pace that it allows (0 closed, 1 open)."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(self.key, "shut_at", "until")
            pipe.time()
            (shut_at, until), (seconds, microseconds) = pipe.execute()
        shut_at_us, opens_us = int(shut_at or 0), int(until or 0)
        now_us = self.now_us or int(seconds) * 1_000_000 + int(microseconds)
        # A gate that was closed in the future was closed before the clock was set back: it counts as open.
        if now_us < shut_at_us or now_us >= opens_us + self.ramp_us:
            return 0.0, 1.0
        if now_us < opens_us:
            return (opens_us - now_us) / 1e6, 0.0
        return 0.0, max(_FIRST_PACE, (now_us - opens_us) / self.ramp_us)
