"""The wheel holds every file that Relève needs, has the version of setup.cfg, and names its commit (D25, D10)."""

from __future__ import annotations

import os
import subprocess
import sys
from email.parser import Parser
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from zipfile import ZipFile

import pytest

from tests.support.git import git
from tests.support.releases import VERSION
from tools.lock_files import ROOT
from tools.release.package import build_package

pytestmark = pytest.mark.rest

FOLDERS = ("config", "tasks", "worker", "simulator", "drill")
CACHES = ignore_patterns("__pycache__", "*.egg-info")
COMMIT = "0123456789ab"


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Return a copy of what the image is built from, where no git tells a commit."""
    folder = tmp_path / "sources"
    for name in FOLDERS:
        copytree(ROOT / name, folder / name, ignore=CACHES)
    for name in ("LICENSE", "README.md", "pyproject.toml", "setup.cfg", "setup.py"):
        copy(ROOT / name, folder / name)
    return folder


def run_builder(sources: Path, commit: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python in the sources with a commit, or with none where it is empty."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *words],
        cwd=sources,
        env={**environment, "SOURCE_COMMIT": commit},
        capture_output=True,
        text=True,
        check=False,
    )


def read_wheel(folder: Path) -> dict[str, str]:
    """Return the texts of the wheel's files by their names."""
    (file,) = folder.glob("*.whl")
    with ZipFile(file) as wheel:
        return {name: wheel.read(name).decode(errors="replace") for name in wheel.namelist()}


def needed_files(sources: Path) -> set[str]:
    """Return the names of the files that a wheel must have."""
    folders = [sources / name for name in FOLDERS]
    return {file.relative_to(sources).as_posix() for folder in folders for file in folder.rglob("*") if file.is_file()}


def test_the_wheel_holds_all_files_and_the_commit_that_the_build_was_given(sources: Path) -> None:
    run = run_builder(sources, COMMIT, "-c", "from setuptools import build_meta as b; b.build_wheel('.')")
    assert run.returncode == 0, run.stderr
    files = read_wheel(sources)
    metadata = f"releve-{VERSION}.dist-info"
    assert {name for name in files if not name.startswith(metadata)} == {*needed_files(sources), "worker/commit.txt"}
    assert files["worker/commit.txt"] == f"{COMMIT}\n"
    assert Parser().parsestr(files[f"{metadata}/METADATA"])["Version"] == VERSION
    assert "releve = worker.cli:main" in files[f"{metadata}/entry_points.txt"]


def test_a_release_builds_the_wheel_from_the_sdist_which_knows_its_commit(sources: Path, tmp_path: Path) -> None:
    """The sources are an archive of the commit; git is asked in another folder, as in `make release`."""
    checkout, folder = tmp_path / "checkout", tmp_path / "dist"
    checkout.mkdir()
    folder.mkdir()
    git(checkout, "init", "--quiet")
    git(checkout, "commit", "--quiet", "--allow-empty", "--message", "Release")
    commit = git(checkout, "rev-parse", "HEAD")
    sdist, wheel = build_package(checkout, sources, folder)
    assert {sdist.name, wheel.name} == {f"releve-{VERSION}.tar.gz", f"releve-{VERSION}-py3-none-any.whl"}
    files = read_wheel(folder)
    assert files["worker/commit.txt"] == f"{commit[:12]}\n"
    packed = {name for name in files if not name.startswith(f"releve-{VERSION}.dist-info")}
    assert packed == {*needed_files(sources), "worker/commit.txt"}


def test_a_build_without_a_commit_names_none_though_an_earlier_one_did(sources: Path) -> None:
    earlier = sources / "build" / "lib" / "worker" / "commit.txt"
    earlier.parent.mkdir(parents=True)
    earlier.write_text(COMMIT, encoding="utf-8")
    assert run_builder(sources, "", "setup.py", "build_py").returncode == 0
    assert (earlier.parent / "app.py").exists() and not earlier.exists()


def test_a_build_with_a_commit_that_is_none_ends_in_a_line(sources: Path) -> None:
    run = run_builder(sources, "fatal: not a git repository", "setup.py", "build_py")
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("SOURCE_COMMIT must be a commit's hash")
