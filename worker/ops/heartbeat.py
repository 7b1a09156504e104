"""A worker says that it is alive; what those that fell silent held is given back to the queues.

Only with Redis as the broker: RabbitMQ itself gives back what a lost connection held.
"""

from __future__ import annotations

import logging
import os
import platform
import secrets
import threading
from typing import Final, Protocol

from worker.errors import WorkerError
from worker.metrics import GIVEN_BACK
from worker.stores.redis.broker import BrokerMessages

log = logging.getLogger("releve.presence")

EVERY_S: Final = 4.0
WORKER: Final = f"{platform.node() or 'host'}-{os.getpid()}-{secrets.token_hex(3)}".replace(":", "-")


class Alive(Protocol):
    def say_alive(self, worker: str) -> None: ...

    def say_gone(self, worker: str) -> None: ...

    def gone(self, workers: set[str]) -> list[str]: ...


class Heartbeat:
    """Says it from the first moment on, in a thread of its own, until ``stop``."""

    def __init__(self, state: Alive, worker: str = WORKER) -> None:
        self._state, self._worker = state, worker
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def start(self) -> None:
        self._say()
        self._thread.start()

    def stop(self) -> None:
        """The worker takes nothing any more; what it still holds others may have."""
        self._stopped.set()
        try:
            self._state.say_gone(self._worker)
        except WorkerError as unwell:  # then it runs out by itself
            log.warning("could not say that this worker ends: %s", unwell)

    def _beat(self) -> None:
        while not self._stopped.wait(EVERY_S):
            self._say()

    def _say(self) -> None:
        try:
            self._state.say_alive(self._worker)
        except WorkerError as unwell:
            log.warning("could not say that this worker lives: %s", unwell)


def give_back_orphans(state: Alive, deliveries: BrokerMessages) -> int:
    """Put back what dead workers held; how many messages."""
    given_back = 0
    for worker in state.gone(deliveries.holders()):
        count = deliveries.give_back(worker)
        given_back += count
        GIVEN_BACK.inc(count)
        log.warning("worker gone worker=%s messages_given_back=%d", worker, count)
    return given_back
