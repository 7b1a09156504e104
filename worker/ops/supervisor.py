"""The processes of `releve up`: how each part is started, and who supervises them.

After its checks, `releve up` becomes the supervisor of its parts (`python -m worker.ops.supervisor PLAN`). The
supervisor restarts the embedded Redis if it ends. If any other part ends, the supervisor ends all parts and itself. It
stays in memory as long as the parts run, so this module imports settings and stores only inside functions: the process
takes 15 MB instead of 85. The plan is JSON::

    {"parts": {"worker": ["/usr/bin/python3", "-m", "celery", …]}, "logs": "releve-data/logs", "grace_s": 30,
     "lines": ["worker and web are running …"], "redis_in": "releve-data"}
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from worker.errors import ProcessFailed
from worker.stores.child_processes import ANSWER_S, Supervisor, bound_log
from worker.stores.sockets import redis_is_up

if TYPE_CHECKING:
    from config.settings import Settings

# Flower serves only this machine; its other options come from ``worker.ops.startup``.
_COMMANDS: Final = {
    "redis": ("worker.stores.redis.embedded",),
    "simulator": ("worker", "simulate"),
    "worker": ("celery", "-A", "worker", "worker"),
    "beat": ("celery", "-A", "worker", "beat"),
    "home-worker": ("worker.ops.home_worker",),
    "web": ("worker", "web"),
    "flower": ("celery", "-A", "worker", "flower", "--address=127.0.0.1"),
}
_POLL_S: Final = 1.0  # A second is soon enough to notice that a part has ended.
_LOGS_EVERY_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class PartPlan:
    """What to start. ``parts``: the command line of each part by name, in the order of their start.

    ``logs``: the folder of the log files; if empty, the parts log to standard error. ``grace_s``: the time each part
    gets to end. ``lines``: printed when all parts run. ``redis_in``: the data folder of the embedded Redis, which is
    started before all parts; None without one.
    """

    parts: Mapping[str, Sequence[str]]
    logs: str
    grace_s: float
    lines: Sequence[str]
    redis_in: str | None = None

    def replace_process(self, env: Mapping[str, str]) -> NoReturn:
        """Replace this process with the supervisor of these parts, with ``env`` added to the environment.

        Nothing is closed here: the caller must have closed what it opened.
        """
        argv = [sys.executable, "-m", __name__, json.dumps(asdict(self))]
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, argv, {**os.environ, **env})  # noqa: S606 - our own interpreter

    def run(self) -> int:
        """Run the parts until one ends, or until Ctrl-C or SIGTERM; return the exit code."""
        try:
            with Supervisor(grace_s=self.grace_s, poll_s=_POLL_S) as supervisor:
                if self.redis_in:
                    self._start_redis(supervisor, self.redis_in)
                for name, argv in self.parts.items():
                    supervisor.start(name, argv, log_path=self._log_of(name))
                for line in self.lines:
                    print(line, flush=True)  # noqa: T201 - this process is a command
                self._watch(supervisor)
        except KeyboardInterrupt:  # Ctrl-C is the usual end.
            return 0
        except (ProcessFailed, OSError) as error:
            print(f"releve: {error}{self.logs and f'; logs in {self.logs}'}", file=sys.stderr, flush=True)  # noqa: T201
        return 1

    def _log_of(self, name: str) -> Path | None:
        return Path(self.logs, f"{name}.log") if self.logs else None

    def _watch(self, supervisor: Supervisor) -> None:
        """Limit the size of the logs, and restart Redis when it ends, until another part ends. Raises ProcessFailed."""
        while True:
            for child_exit in supervisor.wait(_LOGS_EVERY_S):
                print(f"releve: {child_exit}", file=sys.stderr, flush=True)  # noqa: T201
                if child_exit.name != "redis" or not self.redis_in:
                    return
                self._start_redis(supervisor, self.redis_in)
            for log in Path(self.logs).glob("*.log") if self.logs else ():
                bound_log(log)

    def _start_redis(self, supervisor: Supervisor, data_dir: str) -> None:
        """Start Redis and wait until it has loaded its data. Raises ProcessFailed."""
        url = (Path(data_dir) / "redis" / "server.url").read_text()
        argv = part_command("redis", data_dir)
        supervisor.start("redis", argv, log_path=self._log_of("redis"), ends_last=True)
        supervisor.wait_until_ready("redis", lambda: redis_is_up(url, ANSWER_S))


def part_command(part: str, *options: str) -> list[str]:
    return [sys.executable, "-m", *_COMMANDS[part], *options]


def public_url(settings: Settings, host: str, port: int) -> str:
    """Return the URL at which browsers reach the web service: the setting, or else the address of the service."""
    if "public_url" in settings.model_fields_set:
        return settings.public_url
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104
    return f"http://{name}:{port}"


def _raise_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _raise_interrupt)
    sys.exit(PartPlan(**json.loads(sys.argv[1])).run())
