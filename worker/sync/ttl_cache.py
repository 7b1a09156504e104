"""A cache of the run ids in the broker for some seconds, because a scan of its queues costs more than a decision."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

RunIds = Collection[str] | None


class TtlCache:
    """A function that returns what ``load`` returned at most ``ttl_s`` ago; safe with threads."""

    def __init__(self, load: Callable[[], RunIds], ttl_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._load, self._ttl_s, self._clock = load, ttl_s, clock
        self._lock = threading.Lock()
        self._cached: tuple[float, RunIds] | None = None

    def __call__(self) -> RunIds:
        with self._lock:
            # The age counts from before the scan, because the scan may miss what is published during it.
            now = self._clock()
            if self._cached is None or now - self._cached[0] > self._ttl_s:
                self._cached = now, self._load()
            return self._cached[1]
