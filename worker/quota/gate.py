"""The gate of one supplier, which a 429 closes for everybody; it opens by itself, and slowly.

After its opening the pace grows from a twentieth to the whole within a minute, so the first call is a question
whether the supplier is ready.  Another refusal within ten minutes of an opening closes it for twice as long as was
asked for, then four times, up to an hour.  Many calls under way when it closes may each be refused: they count as one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from redis import Redis

from worker.metrics import GATE_CLOSINGS
from worker.quota import scripts
from worker.quota.limits import RAMP_S
from worker.stores.redis.connection import PrefixedKeys, redis_errors

_REMEMBERED_S: Final = 600.0
_LONGEST_OF_OURS_S: Final = 3600.0  # what the supplier asks for is kept to, however long


class Gate(PrefixedKeys):
    """``clock_us`` gives µs in place of the server's clock: for simulations, whose time passes faster than ours."""

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
        self._close = redis.register_script(scripts.CLOSE)
        self._look = redis.register_script(scripts.GATE)

    @property
    def now_us(self) -> int:
        """0 where the server's clock counts."""
        return self._clock_us() if self._clock_us else 0

    @redis_errors()
    def close(self, retry_after_s: float, permit_at_us: int = 0) -> None:
        """Close for all; one that is closed for longer stays so.  ``permit_at_us``: of the call that was refused."""
        if retry_after_s <= 0:
            return
        memory_us = self.ramp_us + int(_REMEMBERED_S * 1e6)
        wait_us, longest_us = int(retry_after_s * 1e6), int(_LONGEST_OF_OURS_S * 1e6)
        self._close(keys=[self.key], args=[self.now_us, wait_us, permit_at_us, memory_us, longest_us])
        GATE_CLOSINGS.inc()

    def closed_for_s(self) -> float:
        """0 where it is open, if only a little."""
        return self.state()[0]

    @redis_errors()
    def state(self) -> tuple[float, float]:
        """Seconds until it opens, and which share of the full pace it lets through: 0 closed, 1 open."""
        closed_us, thousandths = self._look(keys=[self.key], args=[self.now_us, self.ramp_us])
        return closed_us / 1e6, thousandths / 1000
