"""What depends on the machine: keeping files private, describing errors of the system, and the program's version.

The version is the package's number, with its commit if known.  A wheel holds the commit in ``worker/commit.txt``, which
setup.py writes when it builds the wheel; in a checkout, git is asked.

This file imports nothing of ours, because setup.py runs it by its path before the package is installed.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Final

_UMASK: Final = 0o077
_ADVICE: Final = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
    errno.EROFS: "the disk is mounted read-only",
    errno.EACCES: "let Relève's user read and write there",
    errno.EPERM: "let Relève's user read and write there",
    errno.ENOTDIR: "a part of this path is a file: name a folder",
    errno.EEXIST: "it is a file: name a folder",
    errno.EISDIR: "it is a folder: name a file",
    errno.ENOENT: "it does not exist: check its path",
    errno.ENAMETOOLONG: "its name is too long",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOMEM: "give it more memory",
}
_PACKAGE: Final = Path(__file__).parents[1]
# The file of a wheel holds a text like 0123456789ab, followed by -dirty if files differed from the commit.
COMMIT_FILE: Final = "commit.txt"
_COMMIT: Final = re.compile(r"\s*([0-9a-f]{7,12})[0-9a-f]{0,28}(-dirty)?\s*")
_GIT_TIMEOUT_S: Final = 10


def keep_files_private() -> None:
    """Make files written by this process and its children readable by their user only: files 0600, folders 0700.

    This includes the embedded Redis, which writes its append-only file with the mode of the umask.
    """
    os.umask(_UMASK)


def in_container() -> bool:
    """Return whether this process runs in a container, which has network addresses of its own."""
    named = any(os.environ.get(name) for name in ("container", "KUBERNETES_SERVICE_HOST"))
    return named or any(Path(path).exists() for path in ("/.dockerenv", "/run/.containerenv"))


def describe_machine_fault(error: OSError) -> str | None:
    """Return what the operator can do about an error of the operating system; None if nothing is known."""
    advice = _ADVICE.get(error.errno or 0)
    if advice is None:
        return None
    return f"{error.filename}: {error.strerror}: {advice}" if error.filename else f"{error.strerror}: {advice}"


def describe_version() -> str:
    """Return `0.2.0 (commit 0123456789ab)`, or only the number if the commit is unknown."""
    commit = find_commit()
    return f"{version('releve')} (commit {commit})" if commit else version("releve")


def find_commit(package: Path = _PACKAGE) -> str | None:
    """Return the commit of the folder `worker`, from its file or else from git; None if neither knows it."""
    try:
        return as_commit((package / COMMIT_FILE).read_text(encoding="utf-8"))
    except OSError:
        return _ask_git(package.parent) if (package.parent / ".git").exists() else None


def as_commit(text: str) -> str | None:
    """Return a commit's hash, cut to 12 digits; None for any other text."""
    found = _COMMIT.fullmatch(text)
    return found[1] + (found[2] or "") if found else None


def _ask_git(checkout: Path) -> str | None:
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return as_commit(answer.stdout) if answer.returncode == 0 else None
