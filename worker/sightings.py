"""What the broker holds, as somebody saw it a few seconds ago: to look into it costs more than to decide.

A look may be used for half the time that a claim must be old to be taken for lost: a message published since then
is younger than that, so it is never missed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection

Words = Collection[str] | None


class Sightings:
    """Called, gives what ``look`` found at most ``good_for_s`` ago."""

    def __init__(
        self, look: Callable[[], Words], good_for_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._look, self._good_for_s, self._clock = look, good_for_s, clock
        self._lock = threading.Lock()
        self._seen: tuple[float, Words] | None = None

    def __call__(self) -> Words:
        with self._lock:
            now = self._clock()  # before the look: what is published meanwhile may be missed by it
            if self._seen is None or now - self._seen[0] > self._good_for_s:
                self._seen = now, self._look()
            return self._seen[1]
