"""A folder of its own for the counts of one worker's processes, gone when the worker is.

The library keeps counts in files where PROMETHEUS_MULTIPROC_DIR names a folder before the first of them is made, so
that the children of a prefork pool are added up too.  A locked file says that a folder is in use: a lock ends with the
last process that holds it, so what a kill -9 or a restart in place left behind is known, whatever its process ids were.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TextIO

from prometheus_client import values

VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
_LOCK: Final = "lock"
_held: list[TextIO] = []  # as long as this process lives


def open_folder(data_dir: Path) -> Path:
    """A new folder below ``data_dir``, where the library will count; raises OSError where it can't be made."""
    base = data_dir / "metrics"
    base.mkdir(parents=True, exist_ok=True)
    with _alone(base):  # nobody takes a folder for forgotten that is not locked yet
        _sweep(base)
        folder = Path(tempfile.mkdtemp(prefix="worker-", dir=base))
        lock = (folder / _LOCK).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    _held.append(lock)
    atexit.register(_remove, folder, os.getpid())
    os.environ[VARIABLE] = str(folder)
    # Once more: Celery's command line has imported the library long ago, for Flower.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
    return folder


def _sweep(base: Path) -> None:
    """Remove the folders that nobody uses any more."""
    for folder in base.glob("worker-*"):
        with (folder / _LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # not in a forked child
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _alone(base: Path) -> Iterator[None]:
    with (base / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
