"""The bound on threads of the web that wait for a supplier: only the proxy's clients are answered by its word."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from worker.errors import ProxyBusy

MOST_AT_ONCE: Final = 8  # Of one process, whose web has 40 threads: pages always find a free one.
_AGAIN_S: Final = 5


class SupplierCalls:
    """The calls under way. A call takes one thread until its answer, 30 s at most."""

    def __init__(self, most: int = MOST_AT_ONCE) -> None:
        self._free = threading.BoundedSemaphore(most)

    @contextmanager
    def take(self) -> Iterator[None]:
        """Count one call within the block. Raises ProxyBusy at once where there are too many."""
        if not self._free.acquire(blocking=False):
            raise ProxyBusy("too many calls to the supplier at once", retry_after_s=_AGAIN_S)
        try:
            yield
        finally:
            self._free.release()
