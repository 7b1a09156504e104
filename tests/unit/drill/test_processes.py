"""Kills of a child process that may have ended a moment before."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest

from worker.drill.processes import DrillProcesses


def ended_process_id() -> int:
    """Return the id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_child_that_has_just_ended_is_no_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: Any = DrillProcesses.__new__(DrillProcesses)
    monkeypatch.setattr(DrillProcesses, "children", lambda self, name: [ended_process_id()])
    assert processes.kill_child("worker-3", random.Random(1)) is False
    monkeypatch.setattr(DrillProcesses, "children", lambda self, name: [])
    assert processes.kill_child("worker-3", random.Random(1)) is False


def test_a_child_that_runs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: Any = DrillProcesses.__new__(DrillProcesses)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        monkeypatch.setattr(DrillProcesses, "children", lambda self, name: [process.pid])
        assert processes.kill_child("worker-3", random.Random(1)) is True
        assert process.wait() == -9
