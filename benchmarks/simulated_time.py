"""A simulated clock for many real threads: it stands still while one works and jumps when all of them sleep."""

from __future__ import annotations

import heapq
import threading
from itertools import count
from typing import Final

_WAKE_TOGETHER_US: Final = 1000  # Sleeps that end within a millisecond end together, so that threads race.


class SimulatedTime:
    """Clock of exactly ``sleepers`` threads; each calls ``leave`` at its end."""

    def __init__(self, now_us: int, sleepers: int) -> None:
        self._now_us = now_us
        self._awake = sleepers
        self._lock = threading.Lock()
        self._asleep: list[tuple[int, int, threading.Event]] = []
        self._numbers = count()

    def now_us(self) -> int:
        return self._now_us

    def sleep(self, seconds: float) -> None:
        wake_up = threading.Event()
        with self._lock:
            heapq.heappush(self._asleep, (self._now_us + max(1, round(seconds * 1e6)), next(self._numbers), wake_up))
            self._mark_asleep()
        wake_up.wait()

    def leave(self) -> None:
        with self._lock:
            self._mark_asleep()

    def _mark_asleep(self) -> None:
        self._awake -= 1
        if self._awake or not self._asleep:
            return
        until_us = self._asleep[0][0] + _WAKE_TOGETHER_US
        while self._asleep and self._asleep[0][0] <= until_us:
            self._now_us, _, wake_up = heapq.heappop(self._asleep)
            self._awake += 1
            wake_up.set()
