"""A process told to die does so at the touch it was told, as kill -9 would end it, and one that was not told lives."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

TOUCHING = """
import os, sys
from pathlib import Path
from worker.drill.crash_worker import Doom
doom, mark, told = Doom(Path(sys.argv[1])), Path(sys.argv[2]), sys.argv[3]
for number in range(1, 11):
    if number == 4 and told != "never":
        Path(sys.argv[1], str(os.getpid())).write_text(told)
    doom.touch()
    mark.write_text(str(number))
"""


@pytest.mark.parametrize("told, survived", [("1", 3), ("2", 4), ("5", 7), ("never", 10)])
def test_it_dies_at_its_touch(tmp_path: Path, told: str, survived: int) -> None:
    doom, mark = tmp_path / "doom", tmp_path / "mark"
    doom.mkdir()
    done = subprocess.run([sys.executable, "-c", TOUCHING, doom, mark, told], check=False)
    assert done.returncode == (0 if told == "never" else -signal.SIGKILL)
    assert mark.read_text() == str(survived)
