"""Times at which work waited: quota that is left over then is wasted."""

from __future__ import annotations

from collections import Counter

from benchmarks.simulated.clock import HOUR_US, SimulatedClock


class WaitingTime:
    """Microseconds of each hour in which no work waited, in ``idle_us``."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock, self._count, self._since_us = clock, 0, clock.us
        self.idle_us: Counter[int] = Counter()

    def add(self) -> None:
        if not self._count:
            self._add_idle_time()
        self._count += 1

    def remove(self) -> None:
        self._count -= 1
        self._since_us = self._clock.us if not self._count else self._since_us

    def finish(self) -> None:
        if not self._count:
            self._add_idle_time()

    def _add_idle_time(self) -> None:
        at_us, begin_us = self._since_us, self._clock.begin_us
        while at_us < self._clock.us:
            hour = (at_us - begin_us) // (HOUR_US)
            until_us = min(self._clock.us, begin_us + (hour + 1) * HOUR_US)
            self.idle_us[hour] += until_us - at_us
            at_us = until_us
