"""What must be true before a release is built."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tools.check_texts.project import Project
from tools.check_texts.releases import HEADING, read_releases, version_of
from tools.tested import changed_files, git

_IMAGE: Final = re.compile(r"[a-z0-9]+(?:[._-][a-z0-9]+)*(?::\d+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)+")


class ReleaseRefused(Exception):
    """The release can't be built; the message says what to do."""


def read_section(changes: str, version: str) -> tuple[str, str] | None:
    """Return date and text of a version's section of the CHANGELOG, or None."""
    for heading, text in read_releases(changes):
        if (found := HEADING.fullmatch(heading)) and found[1] == version:
            return found[2], text.strip()
    return None


def find_faults(root: Path, version: str, image: str) -> Iterator[str]:
    """Find what keeps this commit from being released as the version; cheap, and all at once."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        yield "say which version: make release VERSION=0.3.0"
        return
    if not _IMAGE.fullmatch(image):
        yield f"IMAGE={image}: name registry and image in lower case, without a tag: registry.example/owner/releve"
    if changed := changed_files(root):
        yield f"commit or remove what differs from the commit: {', '.join(changed[:5])}"
    if (found := version_of(Project(root))) != version:
        yield f"setup.cfg has the version {found}: run make version VERSION={version}"
    yield from _faults_of_changes((root / "CHANGELOG.md").read_text(encoding="utf-8"), version, root)
    tagged = git(root, "for-each-ref", "--format=%(objectname) %(*objectname)", f"refs/tags/v{version}")
    if tagged and git(root, "rev-parse", "HEAD") not in tagged.split():
        yield f"the tag v{version} is another commit: choose another version"


def _faults_of_changes(changes: str, version: str, root: Path) -> Iterator[str]:
    section = read_section(changes, version)
    if section is None:
        yield f"CHANGELOG.md has no section “{version} (DATE)”: run make version VERSION={version}"
        return
    day, text = section
    if day != (committed := git(root, "show", "-s", "--format=%cs", "HEAD")):
        yield f"CHANGELOG.md dates {version} {day}, and the commit is of {committed}: use one day"
    if not text:
        yield f"CHANGELOG.md says nothing of {version}"
    if dict(read_releases(changes)).get("Unreleased", "").strip():
        yield f"CHANGELOG.md has unreleased changes: move them to {version}"
