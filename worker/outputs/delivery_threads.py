"""Threads of their own for deliveries, so that no window waits for one: a home's worker runs one task at a time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from worker.errors import WorkerError
from worker.logs import fields

log = logging.getLogger("releve.outputs")
MOST_THREADS: Final = 4


class DeliveryThreads:
    """The deliveries of one process: a few at a time, the others wait, and no output is in it twice.

    The threads end where nothing waits. They don't keep the process from ending: what was not delivered is in the
    outbox.
    """

    def __init__(self, deliver: Callable[[str], object], most: int = MOST_THREADS) -> None:
        self._deliver, self._most = deliver, most
        self._lock = threading.Lock()
        self._waiting: dict[str, None] = {}  # In the order in which they came.
        self._running: set[str] = set()
        self._threads = 0

    def add(self, output_id: str) -> None:
        """Let an output be delivered to soon; do nothing where that is so already."""
        with self._lock:
            if output_id in self._running:
                return
            self._waiting[output_id] = None
            if self._threads >= self._most:
                return
            self._threads += 1
            threading.Thread(target=self._run, name="delivery", daemon=True).start()

    def _run(self) -> None:
        while (output_id := self._take()) is not None:
            try:
                self._deliver(output_id)
            except WorkerError as error:  # The next round tries again.
                log.warning("output not delivered", extra=fields(output=output_id, reason=str(error)))
            except Exception as error:  # noqa: BLE001 - a bug stops no other delivery; its text may hold a reading
                log.error("output not delivered", extra=fields(output=output_id, reason=type(error).__name__))
            finally:
                with self._lock:
                    self._running.discard(output_id)

    def _take(self) -> str | None:
        with self._lock:
            output_id = next(iter(self._waiting), None)
            if output_id is None:
                self._threads -= 1
                return None
            del self._waiting[output_id]
            self._running.add(output_id)
            return output_id
