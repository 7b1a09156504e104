"""Several workers on one store, whose calls to it come in an order that the test decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Condition, local
from typing import Any, TypeVar

from tests.support.fakes import MemoryStore

T = TypeVar("T")
LONGEST_WAIT_S = 20.0  # A test that hangs has an error and then fails.


class Turns:
    """An order of workers: one goes on at a time, to its next call to the store, as ``schedule`` says."""

    def __init__(self, schedule: Sequence[int]) -> None:
        self._schedule: Iterator[int] = iter(schedule)
        self._alive: set[int] = set()
        self._waiting: set[int] = set()
        self._moving: int | None = None
        self._condition = Condition()
        self._me = local()

    def run(self, stores: Mapping[Any, MemoryStore], workers: Sequence[Callable[[], T]]) -> list[T]:
        """Run the workers and return their results, or raise the first error of any."""
        self._alive = set(range(len(workers)))
        for store in stores.values():
            store.before_read = store.before_write = self._pause
        with ThreadPoolExecutor(len(workers)) as pool:
            futures = [pool.submit(self._work, number, worker) for number, worker in enumerate(workers)]
            results = [future.result(LONGEST_WAIT_S) for future in futures]
        for store in stores.values():
            store.before_read = store.before_write = None
        return results

    def _work(self, number: int, worker: Callable[[], T]) -> T:
        self._me.number = number
        self._pause()
        try:
            return worker()
        finally:
            with self._condition:
                self._alive.discard(number)
                self._moving = None
                self._choose()

    def _pause(self, *_: object) -> None:
        me = self._me.number
        with self._condition:
            self._waiting.add(me)
            self._moving = None if self._moving == me else self._moving
            self._choose()
            if not self._condition.wait_for(lambda: self._moving == me, LONGEST_WAIT_S):
                raise TimeoutError("this worker never got its turn")
            self._waiting.discard(me)

    def _choose(self) -> None:
        """Choose the next worker, once all that have not ended are at a call to the store."""
        if self._moving is None and self._alive and self._waiting >= self._alive:
            living = sorted(self._alive)
            self._moving = living[next(self._schedule, 0) % len(living)]
        self._condition.notify_all()
