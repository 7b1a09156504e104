"""Connections must not cross a fork: two processes on one socket read each other's answers."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class PerProcess(Generic[T]):
    """One T a process, made when first asked for.  Safe with threads, and without a lock a fork could freeze."""

    def __init__(self, make: Callable[[], T]) -> None:
        """``make`` connects to nothing: two threads may both call it, and one result is then dropped."""
        self._make = make
        self._made: dict[int, T] = {}

    def get(self) -> T:
        # A parent's entry is kept on purpose: to drop it in a child could close what the parent still uses.
        pid = os.getpid()
        made = self._made.get(pid)
        return made if made is not None else self._made.setdefault(pid, self._make())
