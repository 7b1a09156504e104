"""A short drill with a fixed seed and a few kills; the whole store is compared with the true values."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.support.system import BIN, ROOT


def test_a_short_drill_loses_and_doubles_nothing(tmp_path: Path) -> None:
    arguments = ["drill", "--minutes", "0.25", "--seed", "8", "--accounts", "4", "--store", "sqlite", "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    process = subprocess.run(
        [BIN / "python", "-m", "worker", *arguments], env=env, capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    report = json.loads(process.stdout)
    assert report["ok"]
    assert report["kills"] >= 1  # Six are planned; how many find a running worker depends on the machine.
    assert report["accounts"] == 4 and report["repeated"]["measures_sent"] > 0
    # Three years of days, four weeks of half-hours, and their totals. One of the four homes has gas: days alone.
    assert report["documents"] > 3 * 3000 + 1000
    zeros = "lost", "doubled", "wrong", "wrong_totals", "wrong_zeros", "stuck", "not_sent"
    assert {name: report[name] for name in zeros} == dict.fromkeys(zeros, 0)
    assert not list(tmp_path.glob("releve-drill-*"))  # A successful drill deletes its folder.
