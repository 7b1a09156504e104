"""A Redis server owned by one process: the demo, a benchmark or a test."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from worker.stores.child_processes import Guard
from worker.stores.redis.embedded import ServerFolder


class EmbeddedRedis(AbstractContextManager["EmbeddedRedis"]):
    """A server of one process, up when the constructor returns; a restart in the same folder keeps its ``url``.

    It ends with ``stop``, or by its guard when we are killed. Raises StoreUnavailable.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = ServerFolder(data_dir)
        self.start()

    def start(self) -> None:
        """Start the server, also again after ``stop``."""
        self._process = self._folder.launch()
        self._guard = Guard()
        self._guard.watch(self._process.pid)
        self.url = self._folder.url

    @property
    def pid(self) -> int:
        return self._process.pid

    def stop(self) -> None:
        """Stop the server, with SIGKILL if it doesn't end in time; safe to repeat, and no written data is lost."""
        if self._process.returncode is None:
            self._folder.stop()
            self._process.wait()
            self._guard.unwatch(self._process.pid)
        self._guard.close()

    def __exit__(self, *_: object) -> None:
        self.stop()
