"""Stamp of `make test-all`, so that `make release` doesn't run the tests of the same files again.

- ``python -m tools.tested begin`` prints the hash of the files (git's tree), or nothing if some aren't committed.
- ``python -m tools.tested end HASH`` writes it to ``build/tested`` if the files are still the same.
- ``python -m tools.tested check`` exits with 1 if the stamp belongs to other files.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_STAMP: Final = Path("build", "tested")


def git(root: Path, *words: str) -> str:
    """Return what git prints, without the last line break.  Raises CalledProcessError, whose text git has printed."""
    return subprocess.run(
        ["git", "-C", str(root), *words], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.strip()


def changed_files(root: Path) -> list[str]:
    """Return the files that differ from the commit, new ones included."""
    return [line[3:] for line in git(root, "status", "--porcelain").splitlines()]


def committed_tree(root: Path) -> str | None:
    """Return the hash of the commit's files; None if files differ from it, or git knows no commit here."""
    try:
        return None if changed_files(root) else git(root, "rev-parse", "HEAD^{tree}")
    except (OSError, subprocess.CalledProcessError):  # An archive of the sources, for example.
        return None


def is_tested(root: Path) -> bool:
    """Return whether all tests have passed with exactly the files of this commit."""
    try:
        found = (root / _STAMP).read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return False
    return found == committed_tree(root)


def stamp(root: Path, tree: str) -> str:
    """Write the stamp, and return a line that says so, or why there is none."""
    if not tree or committed_tree(root) != tree:
        return "no stamp for make release: files differ from the commit, or it has changed, or git knows none"
    (root / _STAMP).parent.mkdir(exist_ok=True)
    (root / _STAMP).write_text(f"{tree}\n", encoding="utf-8")
    return f"{_STAMP}: make release knows that these files are tested"


def main(words: list[str]) -> int:
    """Run a command of this file's first lines, and return the exit code."""
    match words:
        case ["begin"]:
            print(committed_tree(ROOT) or "")  # noqa: T201
        case ["end", tree]:
            print(stamp(ROOT, tree))  # noqa: T201
        case ["check"]:
            return 0 if is_tested(ROOT) else 1
        case _:
            raise SystemExit(__doc__)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
