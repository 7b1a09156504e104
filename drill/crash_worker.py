"""Relève's Celery app with crash points, started as ``celery -A drill.crash_worker worker``, or a command with them.

The command is ``python -m drill.crash_worker web``.

A file named like a process id in the folder DRILL_CRASH_FOLDER contains a number n: the process kills itself with
SIGKILL at the n-th crash point from then on. While the file ``late`` exists, all processes halt before they write to
the store, so that others write meanwhile. The crash points are before and after each read and write of the store, the
registry, a window's progress in Redis and a consent's data, so a kill can happen between any two writes.

DRILL_AHEAD_S is how many seconds the clock is ahead of this machine's: a process that starts later must not begin at an
earlier pretended time. With RELEVE_DRILL_TWICE every message is sent twice. Without these three variables this is the
plain app.
"""

from __future__ import annotations

import functools
import os
import random
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import worker.runtime.stores
from worker.app import app
from worker.domain.clock import Clock, real_clock
from worker.stores.measures.couchdb import CouchDatabase
from worker.stores.measures.sql import SqlStore
from worker.stores.redis.claims import ProgressStore
from worker.stores.redis.pending_consents import ConnectionRequests, ConsentFlows
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.invitations import InvitationTable
from worker.stores.registry.outcomes import OutcomeTable
from worker.stores.registry.supplier_answers import CorrectionTable

__all__ = ["CLOCK_AHEAD_VARIABLE", "CRASH_FOLDER_VARIABLE", "LATE_FILE", "TWICE_VARIABLE", "app", "set_clock"]
CRASH_FOLDER_VARIABLE: Final = "DRILL_CRASH_FOLDER"
CLOCK_AHEAD_VARIABLE: Final = "DRILL_AHEAD_S"
TWICE_VARIABLE: Final = "RELEVE_DRILL_TWICE"
LATE_FILE: Final = "late"
_LONGEST_HALT_S: Final = 1.5
_CRASH_METHODS: Final[tuple[tuple[type[Any], tuple[Callable[..., Any], ...]], ...]] = (
    (SqlStore, (SqlStore.read, SqlStore.write)),
    (CouchDatabase, (CouchDatabase.read, CouchDatabase.look_up, CouchDatabase._bulk)),
    (CorrectionTable, (CorrectionTable.record,)),
    (OutcomeTable, (OutcomeTable.record,)),
    (
        ProgressStore,
        (
            ProgressStore.note_loaded,
            ProgressStore.record_success,
            ProgressStore.record_task,
            ProgressStore.claim_windows,
            ProgressStore.release_claims,
        ),
    ),
    (InvitationTable, (InvitationTable.create, InvitationTable.open)),
    (ConsentTable, (ConsentTable.record,)),
    (ConsentFlows, (ConsentFlows.start, ConsentFlows.end)),
    (ConnectionRequests, (ConnectionRequests.create, ConnectionRequests.save)),
)


class CrashPoint:
    """Countdown to the crash of this process, which begins when its file exists."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        # Process id and crash points left: a fork has its own countdown.
        self._countdown: tuple[int, int] | None = None

    def count_down(self) -> None:
        """Count one crash point and kill this process if it is the last."""
        with self._lock:
            pid = os.getpid()
            if self._countdown is None or self._countdown[0] != pid:
                self._countdown = self._read_countdown(pid)
            if self._countdown is None:
                return
            self._countdown = pid, self._countdown[1] - 1
            if self._countdown[1] <= 0:
                os.kill(pid, signal.SIGKILL)

    def _read_countdown(self, pid: int) -> tuple[int, int] | None:
        try:
            return pid, int((self._folder / str(pid)).read_text())
        except (FileNotFoundError, ValueError):
            # Most processes have no file.
            return None


def _with_crash_points(method: Callable[..., Any], crash_point: CrashPoint) -> Callable[..., Any]:
    """Return the method with a crash point before and one after it."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        crash_point.count_down()
        answer = method(*args, **kwargs)
        crash_point.count_down()
        return answer

    return call


def _with_halt(method: Callable[..., Any], file: Path) -> Callable[..., Any]:
    """Return the method with a halt before it while this file exists."""

    @functools.wraps(method)
    def call(*args: Any, **kwargs: Any) -> Any:
        if file.exists():
            time.sleep(random.uniform(0, _LONGEST_HALT_S))
        return method(*args, **kwargs)

    return call


def set_clock(ahead: timedelta) -> None:
    """Set the clock of stores that this process opens from now on, ``ahead`` of this machine's clock."""

    def clock_from(_pretend_now: object) -> Clock:
        return lambda: real_clock() + ahead

    setattr(worker.runtime.stores, "clock_from", clock_from)  # noqa: B010 - only the drill replaces this clock


def _send_twice() -> None:
    send: Any = app.amqp.send_task_message

    def send_twice(*args: Any, **kwargs: Any) -> Any:
        send(*args, **kwargs)
        return send(*args, **kwargs)

    setattr(app.amqp, "send_task_message", send_twice)  # noqa: B010 - Celery declares it read-only.


if TWICE_VARIABLE in os.environ:
    _send_twice()
if CRASH_FOLDER_VARIABLE in os.environ:
    for _class, _method in ((SqlStore, SqlStore.write), (CouchDatabase, CouchDatabase._bulk)):
        setattr(_class, _method.__name__, _with_halt(_method, Path(os.environ[CRASH_FOLDER_VARIABLE], LATE_FILE)))
    _crash_point = CrashPoint(Path(os.environ[CRASH_FOLDER_VARIABLE]))
    for _class, _methods in _CRASH_METHODS:
        for _method in _methods:
            setattr(_class, _method.__name__, _with_crash_points(getattr(_class, _method.__name__), _crash_point))
if CLOCK_AHEAD_VARIABLE in os.environ:
    set_clock(timedelta(seconds=float(os.environ[CLOCK_AHEAD_VARIABLE])))
if __name__ == "__main__":
    from worker.cli import main

    main()
