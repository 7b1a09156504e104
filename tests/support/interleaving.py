"""Several workers on one store, whose calls to it come in an order chosen by the test."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from tests.support.fakes import MemoryStore, clear_hooks
from tests.support.stepped_stores import SteppedWorker, stop_at_call

T = TypeVar("T")


class Turns:
    """An order of workers: one at a time continues to its next call to the store, according to ``schedule``."""

    def __init__(self, schedule: Sequence[int]) -> None:
        self._schedule: Iterator[int] = iter(schedule)

    def run(self, stores: Mapping[Any, MemoryStore], workers: Sequence[Callable[[], T]]) -> list[T]:
        """Run the workers and return their results, or raise the first error of any."""
        for store in stores.values():
            store.before_read = store.before_write = stop_at_call
        results: dict[int, T] = {}
        stepped = [SteppedWorker(lambda n=number: results.update({n: workers[n]()})) for number in range(len(workers))]
        while living := [worker for worker in stepped if not worker.ended]:
            living[next(self._schedule, 0) % len(living)].advance()
        clear_hooks(stores.values())
        for error in [worker.error for worker in stepped if worker.error]:
            raise error
        return [results[number] for number in range(len(workers))]
