"""A process with a countdown kills itself at its crash point, and a process without one lives."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from drill.crash_worker import CrashPoint


class Killed(BaseException):
    """In place of the end of this process."""


@pytest.mark.parametrize("countdown, survived", [("1", 3), ("2", 4), ("5", 7), ("never", 10)])
def test_it_dies_at_its_touch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, countdown: str, survived: int) -> None:
    def kill(process: int, sent: int) -> None:
        assert (process, sent) == (os.getpid(), signal.SIGKILL)
        raise Killed

    monkeypatch.setattr(os, "kill", kill)
    crash_point, lived = CrashPoint(tmp_path), 0
    try:
        for number in range(1, 11):
            if number == 4 and countdown != "never":
                (tmp_path / str(os.getpid())).write_text(countdown)
            crash_point.count_down()
            lived = number
    except Killed:
        pass
    assert lived == survived
