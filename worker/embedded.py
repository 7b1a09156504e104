"""A Redis of our own, for one machine and no root, in ``<data dir>/redis``.

``EmbeddedRedis`` is ours alone and ends with us.  ``shared_redis`` is for several commands of one user: each
holds ``users.lock`` shared, and the last to leave stops the server.  Who is killed holds nothing any more; a
server that all its users left by kill -9 is taken over by the next.
"""

from __future__ import annotations

import fcntl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from worker.stores.redis.child_processes import Guard, Supervisor, free_port
from worker.stores.redis.embedded import ServerFolder, find_server, open_lock, try_flock

__all__ = ["EmbeddedRedis", "Supervisor", "find_server", "free_port", "shared_redis"]

# Servers started here and left to other users: kept, for Popen warns of a child it never saw end.
_left_running: list[subprocess.Popen[bytes]] = []


class EmbeddedRedis:
    """A server of our own, up when this returns; ``url`` stays the same over a restart in the same folder.

    Raises StoreUnavailable.  It ends with ``stop``, or by its guard when we are killed.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = ServerFolder(data_dir)
        self._guard = Guard()
        try:
            self._process = self._folder.launch()
        except BaseException:
            self._guard.close()
            raise
        self._guard.watch(self._process.pid)
        self.url = self._folder.url

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """Ask it to end, wait, kill it last.  Safe to repeat; what was written is kept."""
        if self._process.returncode is None:
            self._folder.stop()
            self._process.wait()
            self._guard.unwatch(self._process.pid)
        self._guard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def shared_redis(data_dir: Path) -> Iterator[str]:
    """The URL of the server that all commands on this folder share; starts it for the first of them.

    Raises StoreUnavailable.
    """
    folder = ServerFolder(data_dir)
    with open_lock(folder.path / "users.lock") as users:
        with folder.alone():
            process = None if folder.joinable() else folder.launch()
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield folder.url
        finally:
            with folder.alone():
                last = try_flock(users, fcntl.LOCK_EX)
                if last:
                    folder.stop()
                if process is not None:
                    process.wait() if last else _left_running.append(process)
