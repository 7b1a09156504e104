"""Sdist and wheel, and their trial: an installation of the locked packages, whose list is the bill of materials."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tools.release.checks import ReleaseRefused
from tools.tested import git

_BUILD: Final = "import sys; from setuptools import build_meta; getattr(build_meta, sys.argv[1])(sys.argv[2])"


def run(command: Sequence[str | Path], folder: Path, **variables: str) -> str:
    """Run a program in a folder and return what it prints; raises ReleaseRefused with its last lines if it fails."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    words = list(map(str, command))
    answer = subprocess.run(
        words,
        cwd=folder,
        env=environment | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if answer.returncode:
        last = "\n".join(answer.stdout.rstrip().splitlines()[-15:])
        raise ReleaseRefused(f"{' '.join(words[:4])} … ended with {answer.returncode}:\n{last}")
    return answer.stdout


def extract_commit(root: Path, folder: Path) -> Path:
    """Extract the files of the commit, and nothing else, into a new folder, and return it."""
    folder.mkdir(parents=True)
    run(["git", "archive", "--format=tar", f"--output={folder}.tar", "HEAD"], root)
    with tarfile.open(f"{folder}.tar") as archive:
        archive.extractall(folder, filter="data")
    return folder


def build_package(root: Path, sources: Path, folder: Path) -> tuple[Path, Path]:
    """Build the sdist of the sources, then the wheel of what the sdist contains, and return their files."""
    commit, moment = git(root, "show", "-s", "--format=%H %ct", "HEAD").split()
    variables = {"SOURCE_COMMIT": commit, "SOURCE_DATE_EPOCH": moment}
    run([sys.executable, "-c", _BUILD, "build_sdist", folder], sources, **variables)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(sources.parent / "sdist", filter="data")
    (unpacked,) = (sources.parent / "sdist").iterdir()
    # The sdist knows its commit by itself, so nothing but the date is told.
    run([sys.executable, "-c", _BUILD, "build_wheel", folder], unpacked, SOURCE_COMMIT="", SOURCE_DATE_EPOCH=moment)
    (wheel,) = folder.glob("*.whl")
    return sdist, wheel


def try_package(sources: Path, wheel: Path, version: str, commit: str, bill: Path) -> None:
    """Install what is locked and the wheel, ask the command for its version, and write the bill of materials.

    Raises ReleaseRefused, also if the locks don't fit setup.cfg: pip compares them with what the wheel requires.
    """
    trial = sources.parent / "trial"
    run([sys.executable, "-m", "venv", "--without-pip", trial], sources)
    python = trial / "bin" / "python"
    pip: list[str | Path] = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", python]
    run([*pip, "install", "--only-binary=:all:", "--require-hashes", "-r", "requirements/run.lock"], sources)
    # By name, because a file's path would get into the bill of materials.
    run([*pip, "install", "--no-deps", "--no-index", "--find-links", wheel.parent, f"releve=={version}"], sources)
    run([*pip, "check"], sources)
    answer = run([trial / "bin" / "releve", "--version"], trial).strip()
    if answer != (expected := f"releve, version {version} (commit {commit[:12]})"):
        raise ReleaseRefused(f"the wheel says “{answer}” instead of “{expected}”")
    lister = Path(sys.prefix, "tools", "bin", "cyclonedx-py")
    run([lister, "environment", "--output-reproducible", "--output-file", bill, python], trial)
