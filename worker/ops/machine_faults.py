"""Faults of the machine and its files: one line for the operator where they would look like a bug of ours.

It stands alone, for the command line, the start of every process and the checks need it, and it imports nothing.
"""

from __future__ import annotations

import errno
from typing import Final

_ADVICE: Final = {
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
    errno.EROFS: "the disk is mounted read-only",
    errno.EACCES: "let Relève's user read and write there",
    errno.EPERM: "let Relève's user read and write there",
    errno.ENOTDIR: "a part of this path is a file: name a folder",
    errno.EEXIST: "it is a file: name a folder",
    errno.EISDIR: "it is a folder: name a file",
    errno.ENOENT: "it is not there: check its path",
    errno.ENAMETOOLONG: "its name is too long",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
    errno.ENFILE: "raise the limit of open files (ulimit -n)",
    errno.ENOMEM: "give it more memory",
}


def describe_machine_fault(error: OSError) -> str | None:
    """Return what the operator can do about an error of the operating system; None where it says nothing of that."""
    advice = _ADVICE.get(error.errno or 0)
    if advice is None:
        return None
    return f"{error.filename}: {error.strerror}: {advice}" if error.filename else f"{error.strerror}: {advice}"
