"""The version that runs: the package's number, and the commit it comes from where that is known.

A wheel holds the commit in ``worker/commit.txt``, which setup.py writes when it builds one; a checkout is asked by git.
This file imports nothing of ours, for setup.py runs it too.
"""

from __future__ import annotations

import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

_PACKAGE: Final = Path(__file__).parents[1]
COMMIT_FILE: Final = (
    "commit.txt"  # Of a wheel: 0123456789ab, with -dirty behind it where files differed from the commit.
)
_COMMIT: Final = re.compile(r"\s*([0-9a-f]{7,12})[0-9a-f]{0,28}(-dirty)?\s*")
_GIT_TIMEOUT_S: Final = 10


def describe_version() -> str:
    """Return `0.2.0 (commit 0123456789ab)`, or the number alone where nothing tells the commit."""
    commit = find_commit()
    return f"{version('releve')} (commit {commit})" if commit else version("releve")


def find_commit(package: Path = _PACKAGE) -> str | None:
    """Return the commit of the folder `worker`, by its file or else by git; None where neither knows it."""
    try:
        return as_commit((package / COMMIT_FILE).read_text(encoding="utf-8"))
    except OSError:
        return _ask_git(package.parent) if (package.parent / ".git").exists() else None


def as_commit(text: str) -> str | None:
    """Return a commit's hash with 12 digits at most, or None for another text."""
    found = _COMMIT.fullmatch(text)
    return found[1] + (found[2] or "") if found else None


def _ask_git(checkout: Path) -> str | None:
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return as_commit(answer.stdout) if answer.returncode == 0 else None
