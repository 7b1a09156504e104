"""Child processes that never outlive their parent, even after Ctrl-C, SIGTERM or kill -9.

`releve up`, `releve demo`, `releve drill`, benchmarks and tests run their processes with this module.

Each child leads a session of its own, so Ctrl-C in the terminal reaches only the parent, which ends its children in
order.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Self

from worker.errors import ProcessFailed
from worker.stores import process_guard

log = logging.getLogger("releve.processes")
POLL_S: Final = 0.1
START_S: Final = 60.0
ANSWER_S: Final = 5.0
LOG_BYTES: Final = 10_000_000
# The range lies below the ports that systems assign: Linux from 32768 on, macOS and Windows from 49152 on.
_PORTS: Final = range(20_000, 32_000)


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listened a moment ago.

    The port lies below the range from which systems assign ports, so no other process gets it before the caller does.
    Raises OSError if twenty tries find no free port.
    """
    tries = 20
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", secrets.choice(_PORTS)))
            except OSError:
                tries -= 1
                if not tries:
                    raise
            else:
                return int(probe.getsockname()[1])


class Guard:
    """A separate small process (process_guard.py) that ends the watched process groups when this process is gone."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", process_guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )
        assert self._process.stdin is not None  # noqa: S101 (it was opened with stdin=PIPE)
        self._pipe: IO[str] = self._process.stdin

    def watch(self, group: int, *, ends_last: bool = False) -> None:
        self._send(f"{'>' if ends_last else '+'}{group}\n")

    def unwatch(self, group: int) -> None:
        self._send(f"-{group}\n")

    def _send(self, line: str) -> None:
        try:
            self._pipe.write(line)
            self._pipe.flush()
        except BrokenPipeError:
            log.warning("the guard process is gone: a kill -9 would leave our child processes behind")

    def close(self) -> None:
        """End the guard process; before it exits, it ends the groups that it still watches."""
        try:
            self._pipe.close()
        except BrokenPipeError:
            log.warning("the guard process was gone before us")
        self._process.wait()


@dataclass(frozen=True, slots=True)
class ChildExit:
    """An exit that ``Supervisor.collect_exits`` returns; a negative ``code`` is the signal that ended the child."""

    name: str
    code: int
    last_line: str = ""  # The last line of the child's log, which often says why the child ended.
    pid: int = field(default=0, compare=False)

    def __str__(self) -> str:
        how = f"by {signal.Signals(-self.code).name}" if self.code < 0 else f"with exit code {self.code}"
        return f"{self.name} ended unexpectedly {how}" + (f": {self.last_line}" if self.last_line else "")


@dataclass
class _Child:
    """A named child; ``process`` is None while the child doesn't run. Times are those of the monotonic clock."""

    name: str
    argv: Sequence[str]
    env: Callable[[], Mapping[str, str]]
    log_path: Path | None
    respawn_after_s: float | None
    ends_last: bool
    process: subprocess.Popen[bytes] | None = None
    terminated_at: float | None = None
    ended_at: float = 0.0


class Supervisor:
    """Starts named child processes, restarts those with ``respawn_after_s``, and ends all in reverse order of start.

    ``grace_s`` is the time that each child has to end by itself after SIGTERM. ``poll_s`` is the interval between
    checks for ended children.
    """

    def __init__(self, *, grace_s: float = 10.0, poll_s: float = POLL_S) -> None:
        self._grace_s, self._poll_s = grace_s, poll_s
        self._guard = Guard()
        self._children: dict[str, _Child] = {}

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | Callable[[], Mapping[str, str]] | None = None,
        log_path: Path | None = None,
        respawn_after_s: float | None = None,
        ends_last: bool = False,
    ) -> int:
        """Start a child and return its pid.

        ``env`` is added to our own environment; if it is a function, the function is called at each start of the child.
        The child's output is appended to ``log_path``; without a path it goes where our own output goes. With
        ``respawn_after_s``, ``collect_exits`` restarts an ended child after this time. A child with ``ends_last`` is
        ended after all others, whenever it was started.

        Raises OSError if the child can't start.
        """
        if name in self._children:
            raise ValueError(f"child {name} is already running")
        more = env if callable(env) else lambda: env or {}
        child = _Child(name, argv, more, log_path, respawn_after_s, ends_last)
        pid = self._spawn(child)
        self._children[name] = child
        return pid

    def _spawn(self, child: _Child) -> int:
        with _open_log(child.log_path) as output:
            child.process = subprocess.Popen(
                child.argv,
                env={**os.environ, **child.env()},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._guard.watch(child.process.pid, ends_last=child.ends_last)
        return child.process.pid

    def pid(self, name: str) -> int | None:
        """Return the process id of a child; None while it doesn't run."""
        child = self._children.get(name)
        return child.process.pid if child and child.process else None

    def wait_until_ready(self, name: str, is_ready: Callable[[], bool], timeout_s: float = START_S) -> None:
        """Wait until ``is_ready`` returns true for a new child; until then ``is_ready`` may raise OSError.

        Raises ProcessFailed, with the last line of the child's log, if the child ends or isn't ready in time.
        """
        child, deadline = self._children[name], time.monotonic() + timeout_s
        while child.process is not None and child.process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError):
                if is_ready():
                    return
            time.sleep(POLL_S)
        raise ProcessFailed(f"{name} did not start: {last_log_line(child.log_path) or 'it left no log'}")

    def collect_exits(self) -> list[ChildExit]:
        """Return the new exits of children, and kill the rest of their process groups.

        Each exit is returned once, but never one that ``stop_child`` or ``kill_child`` caused. This method also
        restarts the children whose restart is due, and kills children that still run when their grace after
        ``terminate`` is over.
        """
        exits, now = [], time.monotonic()
        for child in list(self._children.values()):
            if child.process is None:
                if now - child.ended_at >= (child.respawn_after_s or 0.0):
                    self._spawn(child)
            elif (code := child.process.poll()) is not None:
                exits.append(ChildExit(child.name, code, last_log_line(child.log_path), child.process.pid))
                self._kill_and_reap(child)
                child.ended_at = now
                if child.respawn_after_s is None:
                    del self._children[child.name]
            elif child.terminated_at is not None and now - child.terminated_at > self._grace_s:
                self.kill(child.name)
        return exits

    def wait(self, timeout_s: float = math.inf) -> list[ChildExit]:
        """Return the result of ``collect_exits`` as soon as a child has ended, or after ``timeout_s``."""
        deadline = time.monotonic() + timeout_s
        while not (exits := self.collect_exits()) and (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(self._poll_s, left_s))
        return exits

    def terminate(self, name: str) -> None:
        """Send SIGTERM to a child, without waiting until it ends."""
        child = self._children[name]
        if child.process is not None and child.terminated_at is None:
            child.terminated_at = time.monotonic()
            child.process.terminate()

    def kill(self, name: str) -> None:
        """Kill the child and its whole group with SIGKILL; ``collect_exits`` reports this exit."""
        if pid := self.pid(name):
            process_guard.signal_group(pid, signal.SIGKILL)

    def stop_child(self, name: str) -> None:
        """Send SIGTERM to the child, which ends its own children; after its end or its grace, kill its whole group."""
        child = self._children[name]
        try:
            if child.process is not None:
                child.process.terminate()
                child.process.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            log.warning("child=%s did not end within %s s and was killed", name, self._grace_s)
        finally:  # This runs even after a second Ctrl-C.
            self._forget(child)

    def kill_child(self, name: str) -> None:
        """Kill the child and its whole group with SIGKILL; ``collect_exits`` doesn't report this exit."""
        self._forget(self._children[name])

    def stop(self) -> None:
        """End all children in reverse order of start, but those with ``ends_last`` after all others.

        The call may be repeated. No child is left, even if the call is interrupted.
        """
        names = list(reversed(self._children))
        try:
            for name in sorted(names, key=lambda name: self._children[name].ends_last):
                self.stop_child(name)
        finally:
            for child in list(self._children.values()):
                self._forget(child)
            self._guard.close()

    def _forget(self, child: _Child) -> None:
        self._kill_and_reap(child)
        del self._children[child.name]

    def _kill_and_reap(self, child: _Child) -> None:
        if child.process is None:
            return
        process_guard.signal_group(child.process.pid, signal.SIGKILL)
        child.process.wait()
        self._guard.unwatch(child.process.pid)
        child.process = child.terminated_at = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def last_log_line(path: Path | None) -> str:
    """Return the last non-blank line of a log; empty if there is none."""
    if path is None or not path.exists():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "")


def bound_log(path: Path) -> None:
    """Rotate a log of more than 10 MB: copy it to ``.1`` (the previous copy becomes ``.2``), then empty it in place.

    The file itself stays, because processes have it open for appending. If the disk has no room for the copy, the log
    keeps growing until there is room.
    """
    first = path.with_name(f"{path.name}.1")
    with suppress(OSError):
        if path.stat().st_size > LOG_BYTES and shutil.disk_usage(path.parent).free > 2 * LOG_BYTES:
            if first.exists():
                first.replace(path.with_name(f"{path.name}.2"))
            shutil.copyfile(path, first)
            os.truncate(path, 0)


def answers(url: str) -> bool:
    """Return True if the HTTP server at ``url`` answers with success; an error status or no answer raises OSError."""
    # Imported here, because the module would take memory in every supervisor, even in one that waits for no server.
    from urllib.request import ProxyHandler, build_opener

    opener = build_opener(ProxyHandler({}))  # Children are reached directly, even if the environment names a proxy.
    with opener.open(url, timeout=ANSWER_S) as answer:
        return bool(answer.status < 400)


@contextmanager
def _open_log(log_path: Path | None) -> Iterator[IO[bytes] | None]:
    if log_path is None:
        yield None
        return
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as output:
        yield output
