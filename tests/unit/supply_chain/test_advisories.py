"""`make audit` looks up what is locked, and says so where it could look up nothing (L14)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tools.advisories import NOT_REACHED, NOTHING_KNOWN, WEAKNESSES, audit

HASH = "--hash=sha256:" + "0" * 64
CLEAN = {"name": "celery", "version": "5.7.0", "vulns": []}
WEAK = {"name": "kombu", "version": "5.6.0", "vulns": [{"id": "PYSEC-2026-1", "fix_versions": ["5.6.1"]}]}
UNMENDED = {"name": "kombu", "version": "5.6.0", "vulns": [{"id": "PYSEC-2026-2", "fix_versions": []}]}
SKIPPED = {"name": "vine", "skip_reason": "Dependency not found and could not be audited: vine (5.1.0)"}


@pytest.fixture
def locks(tmp_path: Path) -> list[Path]:
    run, dev = tmp_path / "run.lock", tmp_path / "dev.lock"
    run.write_text(
        f"celery==5.7.0 \\\n    {HASH}\nkombu==5.6.0 ; sys_platform == 'win99' \\\n    {HASH}\n", encoding="utf-8"
    )
    dev.write_text(f"celery==5.7.0 \\\n    {HASH}\nkombu==5.5.0 \\\n    {HASH}\n", encoding="utf-8")
    return [run, dev]


class PipAudit:
    """Answers as pip-audit does, and keeps what it was asked."""

    def __init__(self, *packages: dict[str, Any], stdout: str | None = None, stderr: str = "") -> None:
        self.stdout = json.dumps({"dependencies": packages, "fixes": []}) if stdout is None else stdout
        self.stderr = stderr
        self.asked: list[list[str]] = []

    def __call__(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        path = next(Path(path) for option, path in pairwise(command) if option == "--requirement")
        self.asked.append(path.read_text(encoding="utf-8").splitlines())
        return subprocess.CompletedProcess(command, 1, self.stdout, self.stderr)


def test_every_locked_package_is_looked_up_whatever_the_platform(locks: list[Path]) -> None:
    pip_audit = PipAudit(CLEAN)
    assert audit(locks, pip_audit) == (NOTHING_KNOWN, ["nothing is known of the 3 locked packages"])
    assert pip_audit.asked == [["celery==5.7.0", "kombu==5.5.0"], ["kombu==5.6.0"]]  # It refuses a name told twice.


@pytest.mark.parametrize(
    ("package", "line"),
    [
        (WEAK, "kombu 5.6.0: PYSEC-2026-1, mended in 5.6.1"),
        (UNMENDED, "kombu 5.6.0: PYSEC-2026-2, mended in no version yet"),
        (SKIPPED, "not looked up, 1 of 2: vine"),
    ],
)
def test_a_weakness_or_a_package_that_could_not_be_looked_up_is_a_failure(
    locks: list[Path], package: dict[str, Any], line: str
) -> None:
    assert audit(locks[:1], PipAudit(CLEAN, package)) == (WEAKNESSES, [line])


@pytest.mark.parametrize(
    "pip_audit",
    [
        PipAudit(SKIPPED),
        PipAudit(),
        PipAudit(stdout=""),
        PipAudit(
            stdout="", stderr="Traceback (most recent call last):\n  File …\nConnectionError: no route " + "x" * 900
        ),
        PipAudit(stdout="[]"),
        PipAudit(stdout="{}"),
    ],
    ids=["an index without advisories", "an empty answer", "nothing", "no network", "a list", "no packages"],
)
def test_where_no_advisories_are_reached_one_line_says_so(locks: list[Path], pip_audit: PipAudit) -> None:
    code, lines = audit(locks, pip_audit)
    assert code == NOT_REACHED
    assert [line[:82] for line in lines] == [
        "make audit reached no advisories, so none of the 3 locked packages was looked at: "
    ]
    assert "\n" not in lines[0] and len(lines[0]) < 400
