"""Worker and beat processes of a drill, and their restart after a kill, as an operator's supervisor does it."""

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

from worker.drill.crash_worker import CRASH_FOLDER_VARIABLE
from worker.stores.redis.child_processes import Supervisor, process_exists
from worker.stores.redis.guard import signal_group

_RESPAWN_AFTER_S: Final = 0.5
_GRACE_S: Final = 20.0  # From SIGTERM to the supervisor's SIGKILL.
_CRASH_WITHIN_S: Final = 8.0  # An idle process reaches no crash point, so it is killed after this time.
_APP: Final = "worker.drill.crash_worker"
DOUBLING_APP: Final = "worker.drill.doubling_worker"
CAN_FILL_DISK: Final = hasattr(resource, "prlimit")  # Only Linux has it.
_QUICK_START_OPTIONS: Final = ("--without-mingle", "--without-gossip", "-l", "INFO")
POOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "worker-1": ("-P", "threads", "-c", "6"),
    "worker-2": ("-P", "threads", "-c", "6"),
    "worker-3": ("-P", "processes", "-c", "2"),  # Celery takes "prefork" for its default, which a setting overrides.
}
PREFORK: Final = "worker-3"


@dataclass
class ProcessRole:
    """One worker or beat of the drill: its command, and its process while it runs.

    ``ended_at`` and ``terminated_at`` (moment of SIGTERM) are seconds of the monotonic clock; ``extra_env`` and
    ``app`` replace the usual environment and Celery app.
    """

    name: str
    command: list[str]
    extra_env: Mapping[str, str] = field(default_factory=dict)
    app: str = _APP
    pid: int | None = None
    ended_at: float = 0.0
    terminated_at: float | None = None
    starts: int = 0


class DrillProcesses:
    """Workers and beats of a drill, restarted when they end.

    ``env`` returns the environment for each start; ``report_end`` is called with name, process id and exit code of
    each process that ended.
    """

    def __init__(
        self, folder: Path, env: Callable[[], Mapping[str, str]], report_end: Callable[[str, int, int], None]
    ) -> None:
        self.folder = folder
        self.crash_folder = folder / "crashes"
        self.crash_folder.mkdir()
        self.env, self._report_end = env, report_end
        self._supervisor = Supervisor(grace_s=_GRACE_S)
        self._roles: dict[str, ProcessRole] = {}
        # Moment of the order and process ids, by role.
        self._scheduled_crashes: dict[str, tuple[float, list[int]]] = {}
        self.file_limit: int | None = None
        self.respawns = 0

    def add_worker(self, name: str, *options: str) -> None:
        """Add a worker, which ``tick`` starts and keeps running."""
        self._roles[name] = ProcessRole(name, ["worker", *_QUICK_START_OPTIONS, "-n", f"{name}@drill", *options])

    def add_beat(self, name: str) -> None:
        """Add a beat, which ``tick`` starts and keeps running."""
        self._roles[name] = ProcessRole(name, ["beat", "-l", "INFO", "-s", str(self.folder / f"{name}-schedule")])

    def remove(self, name: str) -> None:
        """Stop a process, wait for its end, and do not start it again."""
        role = self._roles.pop(name)
        self._scheduled_crashes.pop(name, None)
        if role.pid is not None:
            self._supervisor.stop_child(name)

    @property
    def worker_names(self) -> list[str]:
        """Names of the workers, running or not."""
        return [name for name in self._roles if name.startswith("worker")]

    def killable_workers(self) -> list[str]:
        """Return the workers that run and have neither a scheduled crash nor a SIGTERM."""
        return [name for name in self.worker_names if self._is_killable(self._roles[name])]

    def _is_killable(self, role: ProcessRole) -> bool:
        return role.pid is not None and role.terminated_at is None and role.name not in self._scheduled_crashes

    def pid(self, name: str) -> int | None:
        """Return the process id, or None while it does not run."""
        return self._roles[name].pid

    def children(self, name: str) -> list[int]:
        """Return the processes that this one has forked."""
        parent = self.pid(name)
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
        pairs = (line.split() for line in listing.stdout.splitlines())
        return [int(pid) for pid, parent_pid in pairs if int(parent_pid) == parent]

    def tick(self) -> None:
        """Report the processes that ended, start missing ones and kill overdue ones; call it every 0.1 s or so."""
        now = time.monotonic()
        for end in self._supervisor.collect_exits():
            role = self._roles[end.name]
            pid, role.pid, role.ended_at, role.terminated_at = role.pid, None, now, None
            if end.name in self._scheduled_crashes:
                self._cancel_crash(end.name)
            if pid is not None:
                self._report_end(end.name, pid, end.code)
        for name, (since, process_ids) in list(self._scheduled_crashes.items()):
            pid = self.pid(name)
            if pid and not all(map(process_exists, process_ids)):
                # A child crashed: its parent goes on, so the supervisor sees no exit.
                self._cancel_crash(name)
                self._report_end(name, pid, -signal.SIGKILL)
            elif pid and now - since > _CRASH_WITHIN_S:
                signal_group(pid, signal.SIGKILL)
        for role in self._roles.values():
            if role.pid is None and now - role.ended_at >= _RESPAWN_AFTER_S:
                self._start(role)
            elif role.pid and role.terminated_at is not None and now - role.terminated_at > _GRACE_S:
                signal_group(role.pid, signal.SIGKILL)

    def _start(self, role: ProcessRole) -> None:
        env = {**self.env(), CRASH_FOLDER_VARIABLE: str(self.crash_folder), **role.extra_env}
        command = [sys.executable, "-m", "celery", "-A", role.app, *role.command]
        log = self.folder / "logs" / f"{role.name}.log"
        role.pid = self._supervisor.start(role.name, command, env=env, log_path=log)
        self.respawns += role.starts > 0
        role.starts += 1
        if self.file_limit is not None and role.name.startswith("worker"):
            _set_file_limit(role.pid, self.file_limit)

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process and all its children."""
        if pid := self.pid(name):
            signal_group(pid, signal.SIGKILL)

    def kill_child(self, name: str, source: random.Random) -> bool:
        """Send SIGKILL to one child; return False where no child runs."""
        children = self.children(name)
        return bool(children) and _send_signal(source.choice(children), signal.SIGKILL)

    def schedule_crash(self, name: str, crash_points: int) -> None:
        """Let a process crash after so many crash points; in a pool of processes the first child that gets there."""
        if not (pid := self.pid(name)):
            return
        process_ids = self.children(name) if name == PREFORK else [pid]
        for process_id in process_ids:
            # A rename is atomic, so the process never reads half a number.
            draft = self.crash_folder / f"{process_id}.draft"
            draft.write_text(str(crash_points))
            draft.rename(self.crash_folder / str(process_id))
        self._scheduled_crashes[name] = time.monotonic(), process_ids

    def _cancel_crash(self, name: str) -> None:
        """Cancel the crash of those processes that have not reached it."""
        for pid in self._scheduled_crashes.pop(name)[1]:
            (self.crash_folder / str(pid)).unlink(missing_ok=True)

    def terminate(self, name: str) -> None:
        """Send SIGTERM, as a supervisor does before it starts a new version."""
        if (pid := self.pid(name)) and self._roles[name].terminated_at is None:
            self._roles[name].terminated_at = time.monotonic()
            _send_signal(pid, signal.SIGTERM)

    def restart_as(self, name: str, app: str | None = None, **extra_env: str) -> None:
        """Kill a process and let it start again with another app or environment; without them with the usual ones."""
        role = self._roles[name]
        role.app, role.extra_env = app or _APP, extra_env
        self.kill(name)

    def limit_file_size(self, most_bytes: int | None) -> None:
        """Let no worker write beyond ``most_bytes`` of any file, as on a full disk; None lifts the limit."""
        self.file_limit = most_bytes
        for name in self.worker_names:
            if pid := self.pid(name):
                for process_id in (pid, *self.children(name)):
                    _set_file_limit(process_id, most_bytes)

    def stop(self) -> None:
        """Stop all processes."""
        self._supervisor.stop()


def _send_signal(pid: int, number: signal.Signals) -> bool:
    """Send a signal and return whether the process still existed."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def _set_file_limit(pid: int, most_bytes: int | None) -> None:
    try:
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if most_bytes is None else most_bytes, hard))
    except ProcessLookupError:
        # It ended meanwhile, so nothing is left to limit.
        return
