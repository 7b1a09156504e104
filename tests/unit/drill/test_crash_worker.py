"""A process with a countdown kills itself at its crash point, and a process without one lives."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

COUNTING_PROGRAM = """
import os, sys
from pathlib import Path
from worker.drill.crash_worker import CrashPoint
crash_point, mark, countdown = CrashPoint(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
for number in range(1, 11):
    if number == 4 and countdown != "never":
        Path(sys.argv[1], str(os.getpid())).write_text(countdown)
    crash_point.count_down()
    mark.write_text(str(number))
"""


@pytest.mark.slow
@pytest.mark.parametrize("countdown, survived", [("1", 3), ("2", 4), ("5", 7), ("never", 10)])
def test_it_dies_at_its_touch(tmp_path: Path, countdown: str, survived: int) -> None:
    folder, mark = tmp_path / "crashes", tmp_path / "mark"
    folder.mkdir()
    process = subprocess.run([sys.executable, "-c", COUNTING_PROGRAM, folder, mark, countdown], check=False)
    assert process.returncode == (0 if countdown == "never" else -signal.SIGKILL)
    assert mark.read_text() == str(survived)
