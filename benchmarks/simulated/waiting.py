"""Whether work waited: quota that is left then is wasted."""

from __future__ import annotations

from collections import Counter

from benchmarks.simulated.clock import HOUR_US, SimulatedClock


class Waiting:
    """How long nothing waited, by the hour."""

    def __init__(self, clock: SimulatedClock) -> None:
        self._clock, self._count, self._since_us = clock, 0, clock.us
        self.nothing_us: Counter[int] = Counter()

    def more(self) -> None:
        if not self._count:
            self._note()
        self._count += 1

    def less(self) -> None:
        self._count -= 1
        self._since_us = self._clock.us if not self._count else self._since_us

    def close(self) -> None:
        if not self._count:
            self._note()

    def _note(self) -> None:
        at_us, begin_us = self._since_us, self._clock.begin_us
        while at_us < self._clock.us:
            hour = (at_us - begin_us) // (HOUR_US)
            until_us = min(self._clock.us, begin_us + (hour + 1) * HOUR_US)
            self.nothing_us[hour] += until_us - at_us
            at_us = until_us
