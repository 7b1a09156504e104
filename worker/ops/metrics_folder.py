"""Folder in which the processes of one worker keep their counts; it is removed when the worker ends.

prometheus_client keeps counts in files where PROMETHEUS_MULTIPROC_DIR names a folder before the first count is made.
In that way the children of a prefork pool are counted too.  A locked file marks a folder as in use.  A lock ends with
the last process that has it, so the folder of a worker that was killed or restarted in place is recognised and removed,
whatever its process ids were.
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
_locks: list[TextIO] = []  # The files stay open, and so locked, as long as this process lives.


def open_folder(data_dir: Path) -> Path:
    """Make a new folder below ``data_dir`` and let prometheus_client count there.

    Raises OSError where the folder can't be made.
    """
    base = data_dir / "metrics"
    base.mkdir(parents=True, exist_ok=True)
    # Without this lock another worker could take our folder for an unused one before it is locked.
    with _locked(base):
        _remove_unused(base)
        folder = Path(tempfile.mkdtemp(prefix="worker-", dir=base))
        lock = (folder / _LOCK).open("w")
        fcntl.flock(lock, fcntl.LOCK_EX)
    _locks.append(lock)
    atexit.register(_remove, folder, os.getpid())
    os.environ[VARIABLE] = str(folder)
    # Celery's command line has already imported prometheus_client for Flower, so the class is chosen a second time.
    values.ValueClass = values.get_value_class()  # type: ignore[no-untyped-call]
    return folder


def _remove_unused(base: Path) -> None:
    """Remove the folders that no process uses any more."""
    for folder in base.glob("worker-*"):
        with (folder / _LOCK).open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path, owner: int) -> None:
    if os.getpid() == owner:  # A forked child inherits the exit handler, and must leave the folder alone.
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(base: Path) -> Iterator[None]:
    with (base / _LOCK).open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
