"""The supervisor of `releve up`, and where the output of its parts goes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
import sys
from worker.ops.supervisor import PartPlan
part = [sys.executable, "-c", "print('a line of the part')"]
sys.exit(PartPlan({"one": part}, logs=sys.argv[1], grace_s=5, lines=[]).run())
"""


@pytest.mark.parametrize("logs", ["", "logs"])
def test_the_lines_of_a_part_go_to_its_file_or_where_ours_go(logs: str, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", _PROGRAM, logs],
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ("a line of the part" in ended.stdout) is not bool(logs)
    assert [file.read_text() for file in tmp_path.rglob("*.log")] == ["a line of the part\n"] * bool(logs)
