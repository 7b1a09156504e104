"""``celery -A worker.drill.crash_worker worker``: Relève's own app, whose processes can be told when to die.

A file ``<process id>`` in the folder DRILL_DOOM holds a number n: this process kills itself, as kill -9 would, at
the n-th touch from then on of the store, the registry or what is noted of a window in Redis.  So a kill lands
between any two writes, and before and after each.

DRILL_AHEAD_S is how far its clock runs ahead of this machine's: a process that starts later, or is forked later,
must not live earlier.  Without these two variables it is the plain app.
"""

from __future__ import annotations

import functools
import os
import signal
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import worker.runtime.process
from worker.app import app
from worker.domain.clock import Clock, real_clock
from worker.stores.measures.couchdb import CouchStore
from worker.stores.measures.sql import SqlStore
from worker.stores.measures.sql_packs import SqlPacks
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.corrections import CorrectionTable

__all__ = ["AHEAD", "DOOM", "app", "set_clock"]

DOOM: Final = "DRILL_DOOM"
AHEAD: Final = "DRILL_AHEAD_S"
_TOUCHES: Final[tuple[tuple[type[Any], tuple[str, ...]], ...]] = (
    (SqlStore, ("read", "write")),
    (SqlPacks, ("read", "look_up", "write")),
    (CouchStore, ("read", "look_up", "_bulk")),
    (CorrectionTable, ("note",)),
    (AccountRegistry, ("record_outcome",)),
    (ProgressStore, ("mark_done", "note_well", "note_night", "note_task", "clear_attempts", "claim", "release")),
)


class CrashPoint:
    """Counts the touches left, once there is a file for this process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._left: tuple[int, int] | None = None  # process, touches: a fork is doomed by itself

    def touch(self) -> None:
        with self._lock:
            pid = os.getpid()
            if self._left is None or self._left[0] != pid:
                self._left = self._told(pid)
            if self._left is None:
                return
            self._left = pid, self._left[1] - 1
            if self._left[1] <= 0:
                os.kill(pid, signal.SIGKILL)

    def _told(self, pid: int) -> tuple[int, int] | None:
        try:
            return pid, int((self._folder / str(pid)).read_text())
        except (FileNotFoundError, ValueError):  # none, or not yet written
            return None


def _touching(method: Callable[..., Any], doom: CrashPoint) -> Callable[..., Any]:
    @functools.wraps(method)
    def touched(*args: Any, **kwargs: Any) -> Any:
        doom.touch()
        answer = method(*args, **kwargs)
        doom.touch()
        return answer

    return touched


def set_clock(ahead: timedelta) -> None:
    """This process's runtime, whenever it is built, lives that far ahead of this machine's clock."""

    def clock_from(_pretend_now: object) -> Clock:
        return lambda: real_clock() + ahead

    setattr(worker.runtime.process, "clock_from", clock_from)  # noqa: B010 - a seam that nobody but the drill needs


if DOOM in os.environ:
    _doom = CrashPoint(Path(os.environ[DOOM]))
    for _kind, _names in _TOUCHES:
        for _name in _names:
            setattr(_kind, _name, _touching(getattr(_kind, _name), _doom))
if AHEAD in os.environ:
    set_clock(timedelta(seconds=float(os.environ[AHEAD])))
