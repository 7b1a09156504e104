"""The version names the commit where a file or git tells it, and nothing where neither does (D25)."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.support.commands import run_releve
from tests.support.git import git
from worker.ops import machine as versions
from worker.ops.machine import COMMIT_FILE, describe_version, find_commit


@pytest.fixture
def package(tmp_path: Path) -> Path:
    folder = tmp_path / "releve" / "worker"
    folder.mkdir(parents=True)
    (folder / "app.py").write_text("old\n", encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("0123456789ab", "0123456789ab"),
        ("0123456", "0123456"),
        ("0123456789ab" + "c" * 28, "0123456789ab"),
        ("0123456789ab-dirty", "0123456789ab-dirty"),
    ],
)
def test_a_wheel_names_the_commit_that_it_was_built_from(package: Path, written: str, told: str) -> None:
    (package / COMMIT_FILE).write_text(f"{written}\n", encoding="utf-8")
    assert find_commit(package) == told


def test_a_checkout_is_asked_by_git_and_says_where_it_was_changed(package: Path) -> None:
    git(package.parent, "init", "--quiet")
    git(package.parent, "add", ".")
    git(package.parent, "commit", "--quiet", "--message", "first")
    git(package.parent, "tag", "v9.9")
    head = git(package.parent, "rev-parse", "HEAD")
    assert find_commit(package) == head[:12]
    (package / "app.py").write_text("new\n", encoding="utf-8")
    assert find_commit(package) == f"{head[:12]}-dirty"


@pytest.mark.parametrize("text", [None, "", "unknown\n", "<!doctype html>", "v0.2.0", "c" * 41])
def test_nothing_is_invented(package: Path, text: str | None) -> None:
    if text is not None:
        (package / COMMIT_FILE).write_text(text, encoding="utf-8")
    assert find_commit(package) is None


def test_without_git_and_in_an_empty_checkout_the_commit_is_unknown(
    package: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    git(package.parent, "init", "--quiet")
    assert find_commit(package) is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_commit(package) is None


@pytest.mark.parametrize("commit", ["0123456789ab", None])
def test_the_command_prints_number_and_commit(
    commit: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(versions, "find_commit", lambda: commit)
    told = f"{version('releve')} (commit 0123456789ab)" if commit else version("releve")
    assert describe_version() == told
    result = run_releve(tmp_path, {}, "--version")
    assert (result.code, result.out) == (0, f"releve, version {told}\n")
