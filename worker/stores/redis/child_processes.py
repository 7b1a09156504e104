"""Child processes that never outlive their parent, even after Ctrl-C, SIGTERM or kill -9.

Each child leads a session of its own, so Ctrl-C in the terminal reaches the parent alone, which ends them in order.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

from worker.stores.redis import guard

log = logging.getLogger("releve.processes")

POLL_S: Final = 0.1


def free_port() -> int:
    """Return a port of 127.0.0.1 on which nothing listened a moment ago."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """Return ``count`` different free ports of 127.0.0.1."""
    # All are bound at the same time: the system may hand out a port again as soon as it is closed.
    with ExitStack() as resources:
        probes = [resources.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def process_exists(pid: int) -> bool:
    """Return whether there is such a process; a zombie counts."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Guard:
    """A small process that ends the process groups it watches when we are gone (worker/stores/redis/guard.py)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def watch(self, group: int) -> None:
        self._send(f"+{group}\n")

    def unwatch(self, group: int) -> None:
        self._send(f"-{group}\n")

    def _send(self, line: str) -> None:
        pipe = self._pipe()
        try:
            pipe.write(line)
            pipe.flush()
        except BrokenPipeError:
            log.warning("the guard process is gone: a kill -9 would leave our child processes behind")

    def _pipe(self) -> IO[str]:
        assert self._process.stdin is not None  # noqa: S101 (it was opened with stdin=PIPE)
        return self._process.stdin

    def close(self) -> None:
        """End the guard, which then ends the groups that it still watches."""
        try:
            self._pipe().close()
        except BrokenPipeError:
            log.warning("the guard process was gone before us")
        self._process.wait()


@dataclass(frozen=True, slots=True)
class ChildExit:
    """The exit of a child that was not asked to end; a negative ``code`` is the signal that ended it."""

    name: str
    code: int

    def __str__(self) -> str:
        how = f"by {signal.Signals(-self.code).name}" if self.code < 0 else f"with exit code {self.code}"
        return f"{self.name} ended unexpectedly {how}"


class Supervisor:
    """A starter of named children that ends them all, last started first, and restarts none.

    ``grace_s`` is the time that each child has to end by itself after SIGTERM.
    """

    def __init__(self, *, grace_s: float = 10.0) -> None:
        self._grace_s = grace_s
        self._guard = Guard()
        self._children: dict[str, subprocess.Popen[bytes]] = {}

    def start(
        self,
        name: str,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log_path: Path | None = None,
    ) -> int:
        """Start a child and return its pid.

        ``env`` is added to our own environment.  The output is appended to ``log_path``; without one it goes where ours
        goes.  Raises OSError where the child can't start.
        """
        if name in self._children:
            raise ValueError(f"child {name} is running already")
        with _open_log(log_path) as output:
            child = subprocess.Popen(
                argv,
                env={**os.environ, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._children[name] = child
        self._guard.watch(child.pid)
        return child.pid

    def collect_exits(self) -> list[ChildExit]:
        """Return the exits of children that were not asked to end, each once, and kill what is left of their groups."""
        exits = [ChildExit(name, code) for name, child in self._children.items() if (code := child.poll()) is not None]
        for child_exit in exits:
            self._kill_and_reap(child_exit.name)
        return exits

    def wait(self, timeout_s: float) -> list[ChildExit]:
        """Return ``collect_exits`` as soon as a child has ended, after ``timeout_s`` at the latest."""
        deadline = time.monotonic() + timeout_s
        while not (exits := self.collect_exits()) and (left_s := deadline - time.monotonic()) > 0:
            time.sleep(min(POLL_S, left_s))
        return exits

    def stop_child(self, name: str) -> None:
        """Send SIGTERM to the child, which ends its own children; kill its whole group after the grace."""
        child = self._children[name]
        child.terminate()
        try:
            child.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            log.warning("child=%s did not end within %s s and was killed", name, self._grace_s)
        finally:  # A second Ctrl-C comes here too.
            self._kill_and_reap(name)

    def kill_child(self, name: str) -> None:
        """Kill the child and its whole group with SIGKILL, as an accident would."""
        self._kill_and_reap(name)

    def stop(self) -> None:
        """End all children, last started first; safe to repeat, and complete even when it is interrupted."""
        try:
            for name in reversed(list(self._children)):
                self.stop_child(name)
        finally:
            for name in list(self._children):
                self._kill_and_reap(name)
            self._guard.close()

    def _kill_and_reap(self, name: str) -> None:
        child = self._children.pop(name)
        guard.signal_group(child.pid, signal.SIGKILL)
        child.wait()
        self._guard.unwatch(child.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def _open_log(log_path: Path | None) -> Iterator[IO[bytes] | None]:
    if log_path is None:
        yield None
        return
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as output:
        yield output
