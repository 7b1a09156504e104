"""The process that `releve up` becomes after its checks: it starts the parts, and ends with the first of them.

It runs by itself (`python -m worker.ops.part_supervisor PLAN`) and imports neither settings nor stores, because it
stays in memory as long as the parts run: 15 MB in place of 85. The plan is JSON::

    {"parts": {"worker": ["/usr/bin/python3", "-m", "celery", …]}, "logs": "releve-data/logs", "grace_s": 30,
     "lines": ["worker and web are running …"]}
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

from worker.stores.child_processes import Supervisor

_POLL_S = 1.0  # Nobody waits for the message of a part's end.


@dataclass(frozen=True, slots=True)
class PartPlan:
    """What to start, in this order. ``grace_s``: the time each part has to end; ``lines`` are printed once they run."""

    parts: Mapping[str, Sequence[str]]
    logs: str
    grace_s: float
    lines: Sequence[str]

    def replace_process(self, env: Mapping[str, str]) -> NoReturn:
        """Replace this process by the supervisor of these parts, with ``env`` added to the environment.

        Nothing is closed here: the caller has closed what it opened.
        """
        argv = [sys.executable, "-m", __name__, json.dumps(asdict(self))]
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, argv, {**os.environ, **env})  # noqa: S606 - our own interpreter

    def run(self) -> int:
        """Run the parts until one ends, or until Ctrl-C or SIGTERM; return the exit code."""
        try:
            with Supervisor(grace_s=self.grace_s, poll_s=_POLL_S) as supervisor:
                for name, argv in self.parts.items():
                    supervisor.start(name, argv, log_path=Path(self.logs) / f"{name}.log")
                for line in self.lines:
                    print(line, flush=True)  # noqa: T201 - this process is a command
                exits = supervisor.wait()
                for child_exit in exits:
                    print(f"releve: {child_exit}", file=sys.stderr, flush=True)  # noqa: T201
        except KeyboardInterrupt:  # Ctrl-C is the usual end.
            return 0
        return 1


def _raise_interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _raise_interrupt)
    sys.exit(PartPlan(**json.loads(sys.argv[1])).run())
