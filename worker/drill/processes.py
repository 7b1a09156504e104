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
from contextlib import suppress
from pathlib import Path
from typing import Final

from worker.drill.crash_worker import CRASH_FOLDER_VARIABLE
from worker.stores.redis.child_processes import Supervisor, process_exists

_RESPAWN_AFTER_S: Final = 0.5
_GRACE_S: Final = 20.0  # From SIGTERM to the supervisor's SIGKILL.
_CRASH_WITHIN_S: Final = 8.0  # An idle process reaches no crash point, so it is killed after this time.
_QUICK_START_OPTIONS: Final = ("--without-mingle", "--without-gossip", "-l", "INFO")
POOLS: Final[Mapping[str, tuple[str, ...]]] = {
    "worker-1": ("-P", "threads", "-c", "6"),
    "worker-2": ("-P", "threads", "-c", "6"),
    "worker-3": ("-P", "processes", "-c", "2"),  # Celery takes "prefork" for its default, which a setting overrides.
}
PREFORK: Final = "worker-3"


class DrillProcesses(Supervisor):
    """Workers and beats of a drill, restarted when they end; ``env`` returns the environment for each start."""

    def __init__(self, folder: Path, env: Callable[[], Mapping[str, str]]) -> None:
        super().__init__(grace_s=_GRACE_S)
        self.env = env
        self._folder, self._crash_folder = folder, folder / "crashes"
        self._crash_folder.mkdir()
        self._extra_env: dict[str, Mapping[str, str]] = {}  # By name.
        # Moment of the order and process ids, by name.
        self._scheduled_crashes: dict[str, tuple[float, list[int]]] = {}
        self._file_limit: int | None = None

    def add_worker(self, name: str) -> None:
        """Start a worker of POOLS; ``tick`` keeps it running."""
        self._add(name, "worker", *_QUICK_START_OPTIONS, "-n", f"{name}@drill", *POOLS[name])

    def add_beat(self, name: str) -> None:
        """Start a beat; ``tick`` keeps it running."""
        self._add(name, "beat", "-l", "INFO", "-s", str(self._folder / f"{name}-schedule"))

    def _add(self, name: str, *command: str) -> None:
        def env() -> Mapping[str, str]:
            return {**self.env(), CRASH_FOLDER_VARIABLE: str(self._crash_folder), **self._extra_env.get(name, {})}

        argv = [sys.executable, "-m", "celery", "-A", "worker.drill.crash_worker", *command]
        self.start(
            name, argv, env=env, log_path=self._folder / "logs" / f"{name}.log", respawn_after_s=_RESPAWN_AFTER_S
        )

    def killable_workers(self) -> list[str]:
        """Return the workers that run and have neither a scheduled crash nor a SIGTERM."""
        return [
            name
            for name in POOLS
            if self.pid(name) and not self.is_ending(name) and name not in self._scheduled_crashes
        ]

    def forks(self, name: str) -> list[int]:
        """Return the processes that this one has forked."""
        parent = self.pid(name)
        listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True)
        pairs = (line.split() for line in listing.stdout.splitlines())
        return [int(pid) for pid, parent_pid in pairs if int(parent_pid) == parent]

    def tick(self) -> list[tuple[str, int, int]]:
        """Start missing processes and kill overdue ones; return name, process id and exit code of those that ended.

        Call it every 0.1 s or so.
        """
        ends = [(end.name, end.pid, end.code) for end in self.collect_exits()]
        for name, _, _ in ends:
            self._cancel_crash(name)
        for name, (since, process_ids) in list(self._scheduled_crashes.items()):
            pid = self.pid(name)
            if pid and not all(map(process_exists, process_ids)):
                # A child crashed: its parent goes on, so the supervisor sees no exit.
                self._cancel_crash(name)
                ends.append((name, pid, -signal.SIGKILL))
            elif pid and time.monotonic() - since > _CRASH_WITHIN_S:
                self.kill(name)
        if self._file_limit is not None:  # A worker that has just started has no limit, and its children inherit it.
            for name in POOLS:
                _set_file_limit(self.pid(name), self._file_limit)
        return ends

    def kill_fork(self, name: str, source: random.Random) -> bool:
        """Send SIGKILL to one forked process; return False where none runs."""
        forks = self.forks(name)
        with suppress(ProcessLookupError):
            if forks:
                os.kill(source.choice(forks), signal.SIGKILL)
                return True
        return False

    def schedule_crash(self, name: str, crash_points: int) -> None:
        """Let a process crash after so many crash points; in a pool of processes the first child that gets there."""
        if not (pid := self.pid(name)):
            return
        process_ids = self.forks(name) if name == PREFORK else [pid]
        for process_id in process_ids:
            # A rename is atomic, so the process never reads half a number.
            draft = self._crash_folder / f"{process_id}.draft"
            draft.write_text(str(crash_points))
            draft.rename(self._crash_folder / str(process_id))
        self._scheduled_crashes[name] = time.monotonic(), process_ids

    def _cancel_crash(self, name: str) -> None:
        """Cancel the crash of those processes that have not reached it."""
        for pid in self._scheduled_crashes.pop(name, (0.0, []))[1]:
            (self._crash_folder / str(pid)).unlink(missing_ok=True)

    def restart_with(self, name: str, **extra_env: str) -> None:
        """Kill a process and let it start again with more environment variables; without them with the usual ones."""
        self._extra_env[name] = extra_env
        self.kill(name)

    def limit_file_size(self, most_bytes: int | None) -> None:
        """Let no worker write beyond ``most_bytes`` of any file, as on a full disk; None lifts the limit."""
        self._file_limit = most_bytes
        for name in POOLS:
            for process_id in (self.pid(name), *self.forks(name)):
                _set_file_limit(process_id, most_bytes)


def _set_file_limit(pid: int | None, most_bytes: int | None) -> None:
    if pid is None:
        return
    with suppress(ProcessLookupError):  # It ended meanwhile, so nothing is left to limit.
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if most_bytes is None else most_bytes, hard))
