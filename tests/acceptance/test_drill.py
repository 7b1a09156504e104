"""The drill in its short form: a fixed seed, a few kills, the whole store against the truth."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from tests.support.system import BIN, ROOT


def test_a_short_drill_loses_and_doubles_nothing(tmp_path: Path) -> None:
    words = ["drill", "--minutes", "0.25", "--seed", "8", "--accounts", "4", "--store", "sqlite", "--json"]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [BIN / "python", "-m", "worker", *words], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ok"]
    assert found["kills"] >= 1  # of six planned; how many find somebody at their post is the machine's luck
    assert found["accounts"] == 4
    assert found["documents"] > 4 * 3000  # three years of days, four weeks of half-hours, and their totals
    zeros = "lost", "doubled", "wrong", "wrong_totals", "wrong_zeros", "stuck"
    assert {name: found[name] for name in zeros} == dict.fromkeys(zeros, 0)
    assert not list(tmp_path.glob("releve-drill-*"))  # a drill that went well leaves nothing behind
