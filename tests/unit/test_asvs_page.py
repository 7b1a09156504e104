"""The page of the ASVS: no group of the standard is missing, and each test that it names exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reference/asvs.md").read_text(encoding="utf-8")
# The groups of each chapter of ASVS 5.0.0.
GROUPS = {1: 5, 2: 4, 3: 7, 4: 4, 5: 4, 6: 8, 7: 6, 8: 4, 9: 2, 10: 7, 11: 7, 12: 3, 13: 4, 14: 3, 15: 4, 16: 5}
STATES = {"met", "partly", "not met", "not applicable"}


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.splitlines() if line.startswith("| V")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_no_group_of_the_standard_is_missing() -> None:
    named = [row[0].split()[0] for row in rows()]
    expected = [f"V{chapter}.{group}" for chapter, groups in GROUPS.items() for group in range(1, groups + 1)]
    assert named == [*expected, "V17.1"]
    assert {row[1] for row in rows()} <= STATES and all(row[2] for row in rows())


def test_what_is_met_says_by_what() -> None:
    for row in rows():
        if row[1] == "met":
            assert "test_" in row[2] or "](" in row[2] or len(row[2]) > 30, row


def test_each_test_that_is_named_exists() -> None:
    files = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py")}
    texts: dict[str, str] = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        texts[path.name] = texts.get(path.name, "") + path.read_text(encoding="utf-8")
    for name, test in re.findall(r"`(test_\w+\.py)(?:::(\w+))?`", PAGE):
        assert name in files, name
        assert not test or re.search(rf"^def {test}\(", texts[name], re.MULTILINE), f"{name}::{test}"
