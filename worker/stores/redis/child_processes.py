"""Child processes that never outlive us: after Ctrl-C, SIGTERM to the door, or even kill -9, none is left.

Each child leads a session of its own, so Ctrl-C in the terminal reaches us alone and we end them in order.
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

log = logging.getLogger("worker.supervisor")

POLL_S: Final = 0.1


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """As many, no two the same: a port that is let go of may be given again at once."""
    with ExitStack() as opened:
        probes = [opened.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


def lives(pid: int) -> bool:
    """Whether there is such a process, an unburied one included."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


class Guard:
    """A small process that ends the groups it watches when we are gone (worker/stores/redis/guard.py)."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def watch(self, group: int) -> None:
        self._tell(f"+{group}\n")

    def unwatch(self, group: int) -> None:
        self._tell(f"-{group}\n")

    def _tell(self, line: str) -> None:
        pipe = self._pipe()
        try:
            pipe.write(line)
            pipe.flush()
        except BrokenPipeError:
            log.warning("the guard process is gone: a kill -9 would leave our child processes behind")

    def _pipe(self) -> IO[str]:
        assert self._process.stdin is not None  # noqa: S101 (asked for above)
        return self._process.stdin

    def close(self) -> None:
        """End it, and with it all that it still watches."""
        try:
            self._pipe().close()
        except BrokenPipeError:
            log.warning("the guard process was gone before us")
        self._process.wait()


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that ended without being asked; below zero, ``code`` is the signal that ended it."""

    name: str
    code: int

    def __str__(self) -> str:
        how = f"by {signal.Signals(-self.code).name}" if self.code < 0 else f"with exit code {self.code}"
        return f"{self.name} ended unexpectedly {how}"


class Supervisor:
    """Starts named children and ends them all, last started first; restarts none.

    ``grace_s`` is what each child has to end by itself after SIGTERM.
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
        """Start a child; give its pid.  ``env`` is added to our own environment.

        Its output is appended to ``log_path``, or goes where ours goes.  Raises OSError where it can't start.
        """
        if name in self._children:
            raise ValueError(f"child {name} is running already")
        with _output(log_path) as output:
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

    def ended(self) -> list[Ended]:
        """Children that ended without being asked; each is told once, and what it left in its group is ended."""
        gone = [Ended(name, code) for name, child in self._children.items() if (code := child.poll()) is not None]
        for end in gone:
            self._bury(end.name)
        return gone

    def wait(self, timeout_s: float) -> list[Ended]:
        """``ended``, but wait for it up to ``timeout_s``."""
        give_up = time.monotonic() + timeout_s
        while not (gone := self.ended()) and (left_s := give_up - time.monotonic()) > 0:
            time.sleep(min(POLL_S, left_s))
        return gone

    def stop_child(self, name: str) -> None:
        """SIGTERM to the child, so that it ends its own; after the grace, SIGKILL to all of its group."""
        child = self._children[name]
        child.terminate()
        try:
            child.wait(self._grace_s)
        except subprocess.TimeoutExpired:
            log.warning("child=%s did not end within %s s and was killed", name, self._grace_s)
        finally:  # an impatient second Ctrl-C as well
            self._bury(name)

    def kill_child(self, name: str) -> None:
        """SIGKILL to the child and all its group, as an accident would."""
        self._bury(name)

    def stop(self) -> None:
        """End all, last started first.  Safe to repeat; whatever interrupts it, nothing is left."""
        try:
            for name in reversed(list(self._children)):
                self.stop_child(name)
        finally:
            for name in list(self._children):
                self._bury(name)
            self._guard.close()

    def _bury(self, name: str) -> None:
        child = self._children.pop(name)
        guard.reach(child.pid, signal.SIGKILL)
        child.wait()
        self._guard.unwatch(child.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def _output(log_path: Path | None) -> Iterator[IO[bytes] | None]:
    if log_path is None:
        yield None
        return
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as output:
        yield output
