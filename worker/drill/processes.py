"""The processes of a drill, and who starts those again that were killed: the part of an operator's supervisor."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from worker.drill.crash_worker import DOOM
from worker.stores.redis.child_processes import Supervisor, lives
from worker.stores.redis.guard import reach

_RESPAWN_AFTER_S: Final = 0.5
_GRACE_S: Final = 20.0  # from SIGTERM to the supervisor's SIGKILL
_DOOM_WITHIN_S: Final = 8.0  # a process that has nothing to do touches nothing: then it is killed as it stands
_APP: Final = "worker.drill.crash_worker"
DOUBLING_APP: Final = "worker.drill.doubling_worker"
CAN_FILL_DISK: Final = hasattr(resource, "prlimit")  # of Linux
_QUICKLY: Final = ("--without-mingle", "--without-gossip", "-l", "INFO")
POOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "worker-1": ("-P", "threads", "-c", "6"),
    "worker-2": ("-P", "threads", "-c", "6"),
    "worker-3": ("-P", "processes", "-c", "2"),  # called prefork it counts as not said, and settings win
}
PREFORK: Final = "worker-3"


@dataclass
class ProcessRole:
    """One place of the crew: what stands there, or since when it stands empty."""

    name: str
    command: list[str]
    extra_env: Mapping[str, str] = field(default_factory=dict)
    app: str = _APP
    pid: int | None = None
    empty_since: float = 0.0
    told_to_end_at: float | None = None
    starts: int = 0


class DrillProcesses:
    """Workers and beats.  ``env``: their settings, made anew for every start; ``say_dead``: hears of each
    end: post, process, exit code."""

    def __init__(
        self, folder: Path, env: Callable[[], Mapping[str, str]], say_dead: Callable[[str, int, int], None]
    ) -> None:
        self.folder = folder
        self.doom_folder = folder / "doom"
        self.doom_folder.mkdir()
        self.env, self._say_dead = env, say_dead
        self._supervisor = Supervisor(grace_s=_GRACE_S)
        self._posts: dict[str, ProcessRole] = {}
        self._doomed: dict[str, tuple[float, list[int]]] = {}  # by post: since when which processes wait for their doom
        self.file_limit: int | None = None
        self.respawns = 0

    # -- who stands where

    def hire(self, name: str, *options: str) -> None:
        """A worker, from now on kept running."""
        self._posts[name] = ProcessRole(name, ["worker", *_QUICKLY, "-n", f"{name}@drill", *options])

    def hire_beat(self, name: str) -> None:
        self._posts[name] = ProcessRole(name, ["beat", "-l", "INFO", "-s", str(self.folder / f"{name}-schedule")])

    def dismiss(self, name: str) -> None:
        """Ask one to end, wait for it, and leave its place empty."""
        post = self._posts.pop(name)
        self._doomed.pop(name, None)
        if post.pid is not None:
            self._supervisor.stop_child(name)

    @property
    def names(self) -> list[str]:
        """The workers' posts, taken or not."""
        return [name for name in self._posts if name.startswith("worker")]

    def unharmed(self) -> list[str]:
        """Workers that stand at their post and have not been told to die or to end."""
        return [name for name in self.names if self._is_unharmed(self._posts[name])]

    def _is_unharmed(self, post: ProcessRole) -> bool:
        return post.pid is not None and post.told_to_end_at is None and post.name not in self._doomed

    def pid(self, name: str) -> int | None:
        return self._posts[name].pid

    def children(self, name: str) -> list[int]:
        """Processes that this one has forked."""
        parent = self.pid(name)
        told = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
        pairs = (line.split() for line in told.stdout.splitlines())
        return [int(pid) for pid, of in pairs if int(of) == parent]

    def tend(self) -> None:
        """Notice who ended, fill empty places, make those that were told to end do so.  Call it often."""
        now = time.monotonic()
        for end in self._supervisor.ended():
            post = self._posts[end.name]
            pid, post.pid, post.empty_since, post.told_to_end_at = post.pid, None, now, None
            if end.name in self._doomed:
                self._spare(end.name)
            if pid is not None:
                self._say_dead(end.name, pid, end.code)
        for name, (since, doomed) in list(self._doomed.items()):
            pid = self.pid(name)
            if pid and not all(map(lives, doomed)):  # a child: its parent goes on
                self._spare(name)
                self._say_dead(name, pid, -signal.SIGKILL)
            elif pid and now - since > _DOOM_WITHIN_S:
                reach(pid, signal.SIGKILL)
        for post in self._posts.values():
            if post.pid is None and now - post.empty_since >= _RESPAWN_AFTER_S:
                self._start(post)
            elif post.pid and post.told_to_end_at is not None and now - post.told_to_end_at > _GRACE_S:
                reach(post.pid, signal.SIGKILL)

    def _start(self, post: ProcessRole) -> None:
        env = {**self.env(), DOOM: str(self.doom_folder), **post.extra_env}
        command = [sys.executable, "-m", "celery", "-A", post.app, *post.command]
        log = self.folder / "logs" / f"{post.name}.log"
        post.pid = self._supervisor.start(post.name, command, env=env, log_path=log)
        self.respawns += post.starts > 0
        post.starts += 1
        if self.file_limit is not None and post.name.startswith("worker"):
            _limit_files(post.pid, self.file_limit)

    # -- what is done to them

    def kill(self, name: str) -> None:
        """SIGKILL to it and all its children."""
        if pid := self.pid(name):
            reach(pid, signal.SIGKILL)

    def kill_child(self, name: str, luck: random.Random) -> bool:
        """SIGKILL to one of its children; false where it has none, or that one has just ended."""
        children = self.children(name)
        return bool(children) and _reached(luck.choice(children), signal.SIGKILL)

    def doom(self, name: str, touches: int) -> None:
        """Let it, or the first of its children to come so far, die at its so-many-th touch of the store."""
        if not (pid := self.pid(name)):
            return
        doomed = self.children(name) if name == PREFORK else [pid]
        for each in doomed:
            draft = self.doom_folder / f"{each}.draft"
            draft.write_text(str(touches))
            draft.rename(self.doom_folder / str(each))
        self._doomed[name] = time.monotonic(), doomed

    def _spare(self, name: str) -> None:
        """Those of its processes that have not come so far."""
        for each in self._doomed.pop(name)[1]:
            (self.doom_folder / str(each)).unlink(missing_ok=True)

    def tell_to_end(self, name: str) -> None:
        """SIGTERM, as every supervisor does before it starts something new."""
        if (pid := self.pid(name)) and self._posts[name].told_to_end_at is None:
            self._posts[name].told_to_end_at = time.monotonic()
            _reached(pid, signal.SIGTERM)

    def restart_as(self, name: str, app: str | None = None, **extra_env: str) -> None:
        """Kill it; who takes its place runs another app or lives with other settings, or the usual ones."""
        post = self._posts[name]
        post.app, post.extra_env = app or _APP, extra_env
        self.kill(name)

    def limit_files(self, most_bytes: int | None) -> None:
        """No worker can write beyond so many bytes of any file, as if the disk were full; None lifts it."""
        self.file_limit = most_bytes
        for name in self.names:
            if pid := self.pid(name):
                for each in (pid, *self.children(name)):
                    _limit_files(each, most_bytes)

    def stop(self) -> None:
        self._supervisor.stop()


def _reached(pid: int, number: signal.Signals) -> bool:
    """Whether there was somebody to send this to."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:  # it ended meanwhile
        return False
    return True


def _limit_files(pid: int, most_bytes: int | None) -> None:
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if most_bytes is None else most_bytes, hard))
    except ProcessLookupError:  # it ended meanwhile
        return
