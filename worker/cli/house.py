"""Worker and beat as children of one command: what `releve up` and `releve demo` have in common."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from worker.embedded import Supervisor


def start_engine(supervisor: Supervisor, env: Mapping[str, str], logs: Path) -> None:
    """A worker and beat, each with its log file."""
    for name in ("worker", "beat"):
        argv = [sys.executable, "-m", "celery", "-A", "worker", name, "-l", "INFO"]
        supervisor.start(name, argv, env=env, log_path=logs / f"{name}.log")


def last_words(path: Path) -> str:
    """The last line that a child wrote, to say why it ended."""
    if not path.exists():
        return "it left no log"
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line for line in reversed(lines) if line.strip()), "its log is empty")
