"""The machine under a process: files for their owner's eyes alone, and faults of the system in one line.

The command line, Celery's processes and the checks use it, and it imports nothing of ours.
"""

from __future__ import annotations

import errno
import os
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


def keep_files_private() -> None:
    """Make what this process and its children write readable by their user alone: files 0600, folders 0700.

    That holds for the embedded Redis too, which writes its append-only file with the mode of the umask.
    """
    os.umask(_UMASK)


def in_container() -> bool:
    """Return whether this process runs in a container, whose ports other machines reach through addresses of its own.

    Docker and Podman leave a file, Kubernetes and systemd-nspawn a variable.
    """
    named = any(os.environ.get(name) for name in ("container", "KUBERNETES_SERVICE_HOST"))
    return named or any(Path(path).exists() for path in ("/.dockerenv", "/run/.containerenv"))


def describe_machine_fault(error: OSError) -> str | None:
    """Return what the operator can do about an error of the operating system; None where it says nothing of that."""
    advice = _ADVICE.get(error.errno or 0)
    if advice is None:
        return None
    return f"{error.filename}: {error.strerror}: {advice}" if error.filename else f"{error.strerror}: {advice}"
