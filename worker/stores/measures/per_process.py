"""Objects that each process creates for itself: two processes on one connection would read each other's answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """One T for each process, created at first use; safe with threads, and without a lock that a fork could freeze."""

    def __init__(self, make: Callable[[], T]) -> None:
        """Take the factory; two threads may both call it, and one result is then dropped."""
        self._make = make
        self._by_pid: dict[int, T] = {}

    def get(self) -> T:
        # A child leaves its parent's entry alone: dropping it could close a connection that the parent uses.
        pid = os.getpid()
        value = self._by_pid.get(pid)
        return value if value is not None else self._by_pid.setdefault(pid, self._make())
