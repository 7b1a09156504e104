"""What the pages for contributors add passes ruff, once `make format` has run, and the checks of the code."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.how_to import PACKAGES, copy_folders, files_of_page, follow_page, read_page
from tests.support.pages import ROOT
from tools.check_texts import code
from tools.check_texts.__main__ import find_faults
from tools.check_texts.project import Project

PAGES = ("add-a-command.md", "add-a-series.md", "add-a-supplier.md", "add-an-output.md")
# The copy has neither tests nor lock files.
CHECKS = [check for check in code.CHECKS if check not in (code.places_of_unit_tests, code.requirements)]


def run_tool(folder: Path, name: str, *words: str) -> str:
    command = [Path(sys.executable).with_name(name), *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("page", PAGES)
def test_ruff_accepts_what_a_page_adds_after_make_format(page: str, tmp_path: Path) -> None:
    for name in ("ruff.toml", *files_of_page(page)):
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    follow_page(page, tmp_path)
    if "`make format`" in read_page(page):
        run_tool(tmp_path, "ruff", "format", ".")
        run_tool(tmp_path, "ruff", "check", "--fix", ".")
    assert run_tool(tmp_path, "ruff", "check", ".") == "All checks passed!\n"
    assert "already formatted" in run_tool(tmp_path, "ruff", "format", "--check", ".")


@pytest.mark.rest
def test_mypy_and_the_checks_of_the_code_accept_what_all_pages_add(tmp_path: Path) -> None:
    copy_folders(tmp_path, *PACKAGES)
    shutil.copy(ROOT / "setup.cfg", tmp_path)
    for page in PAGES:
        follow_page(page, tmp_path)
    assert find_faults(Project(tmp_path), CHECKS) == []
    assert run_tool(tmp_path, "mypy").startswith("Success")
