"""Git in a test's own checkouts: always the same author and time, and nothing of the user's settings."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

_WHO: Final = {f"GIT_{role}_{what}": "a@example.org" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
_WHEN: Final = {f"GIT_{role}_DATE": "2026-12-02T12:00:00Z" for role in ("AUTHOR", "COMMITTER")}


def git(checkout: Path, *words: str) -> str:
    """Return what git prints, without the last line break; a folder that is no checkout yet can be made one."""
    env = {"PATH": os.environ["PATH"], "HOME": str(checkout), **_WHO, **_WHEN}
    command = ["git", "-C", str(checkout), *words]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()
