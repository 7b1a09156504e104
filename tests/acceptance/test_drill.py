"""Short drills with a fixed seed: the whole store is compared with the true values, and two mutations are caught."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.system import BIN, ROOT

ZEROS = "lost", "doubled", "wrong", "wrong_totals", "wrong_zeros", "stuck", "not_sent"
MUTATIONS = Path(__file__).parents[1] / "support" / "mutations"
# As the command; a drill that does not settle ends after 90 s, not 120.
PROGRAM = "import sys, drill.run; from worker.cli import main; drill.run._SETTLE_S = 90; sys.argv[0] = 'releve'; main()"


def run_drill(tmp_path: Path, *options: str, mutation: str = "") -> dict[str, Any]:
    """Run a drill and return its report; every process of Relève has the mutation."""
    path = [str(MUTATIONS / mutation), str(ROOT)] if mutation else [str(ROOT)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(path), "TMPDIR": str(tmp_path)}
    command = [BIN / "python", "-c", PROGRAM, "drill", "--accounts", "4", "--store", "sqlite", "--json", *options]
    process = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert process.stdout, process.stderr
    report: dict[str, Any] = json.loads(process.stdout)
    assert process.returncode == (0 if report["ok"] else 1), process.stderr
    return report


def test_a_short_drill_loses_and_doubles_nothing(tmp_path: Path) -> None:
    report = run_drill(tmp_path, "--minutes", "0.25", "--seed", "8")
    assert report["kills"] >= 1  # Six are planned; how many find a running worker depends on the machine.
    assert report["accounts"] == 4 and report["repeated"]["measures_sent"] > 0
    assert report["repeated"]["consents_on_pages"] > 0
    # Three years of days, four weeks of half-hours, and their totals. One of the four homes has gas: days alone.
    assert report["documents"] > 3 * 3000 + 1000
    assert {name: report[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0) and report["ok"]
    assert not list(tmp_path.glob("releve-drill-*"))  # A successful drill deletes its folder.


@pytest.mark.parametrize(
    "mutation, found, options",
    [
        ("lost_updates", "wrong_totals", ("--only", "writes_late", "--minutes", "0.6", "--seed", "8")),
        ("lost_messages", "stuck", ("--only", "messages_lost", "--minutes", "0.4", "--seed", "8")),
    ],
)
def test_a_drill_catches_a_mutation_and_nothing_without_it(
    tmp_path: Path, mutation: str, found: str, options: tuple[str, ...]
) -> None:
    report = run_drill(tmp_path, *options)
    assert {name: report[name] for name in ZEROS} == dict.fromkeys(ZEROS, 0) and report["ok"]
    mutated = run_drill(tmp_path, *options, mutation=mutation)
    assert mutated[found] and not mutated["ok"]
