"""Write a new version wherever it stands: ``python -m tools.new_version 0.3.0``, which is `make version VERSION=0.3.0`.

In CHANGELOG.md, the section *Unreleased* gets the version and today's date, and an empty one is added above.
"""

from __future__ import annotations

import re
import sys
from datetime import date
from pathlib import Path
from typing import Final

from tools.check_texts.releases import PLACES_OF_THE_VERSION

ROOT: Final = Path(__file__).parents[1]
_PLACES: Final = {"setup.cfg": r"^version = (\S+)$", **PLACES_OF_THE_VERSION}
_UNRELEASED: Final = "## Unreleased\n"


class NotWritten(Exception):
    """A file lacks the place for the version; nothing was written."""


def write_version(root: Path, version: str, today: date) -> list[str]:
    """Write the version and return the changed files.  Raises NotWritten before the first change."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise NotWritten("say which version: make version VERSION=0.3.0")
    texts = {}
    for path, pattern in _PLACES.items():
        text = (root / path).read_text(encoding="utf-8")
        found = re.search(pattern, text, re.MULTILINE)
        if found is None:
            raise NotWritten(f"{path} names no version: {pattern}")
        texts[path] = text[: found.start(1)] + version + text[found.end(1) :]
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    if f"\n## {version} (" in changes:
        raise NotWritten(f"CHANGELOG.md already has a section {version}")
    if _UNRELEASED not in changes:
        raise NotWritten("CHANGELOG.md has no section “Unreleased”")
    texts["CHANGELOG.md"] = changes.replace(_UNRELEASED, f"{_UNRELEASED}\n## {version} ({today})\n", 1)
    for path, text in texts.items():
        (root / path).write_text(text, encoding="utf-8")
    return list(texts)


if __name__ == "__main__":
    try:
        files = write_version(ROOT, "".join(sys.argv[1:]), date.today())  # noqa: DTZ011 as git dates the commit
    except NotWritten as error:
        sys.exit(str(error))
    print(f"{' '.join(files)}: look at git diff, run make reference and make lint, and commit")  # noqa: T201
