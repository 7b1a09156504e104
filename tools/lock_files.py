"""Reader of requirements/*.lock, which `make lock` writes.

An entry of a lock, with a marker if a platform or a version of Python does not need the package::

    async-timeout==5.0.1 ; python_full_version < '3.11.3' \\
        --hash=sha256:0123… \\
        --hash=sha256:4567…
        # via redis
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.markers import Marker
from packaging.requirements import Requirement

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "requirements"
_HASH: Final = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


@dataclass(frozen=True)
class LockedPackage:
    """One package of a lock at its one version, and the hashes of the files that may be installed for it."""

    name: str
    version: str
    marker: Marker | None
    hashes: tuple[str, ...]

    @property
    def installed_here(self) -> bool:
        """Whether this interpreter on this platform installs the package."""
        return self.marker is None or self.marker.evaluate()


def lock_files() -> list[Path]:
    """Return the paths of all locks by name."""
    return sorted(FOLDER.glob("*.lock"))


def read_lock(path: Path) -> list[LockedPackage]:
    """Return the packages of a lock in its order.  Raises ValueError for an entry of another form than above."""
    lines = (line for line in path.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#"))
    entries = re.sub(r"\\\n\s+", " ", "\n".join(lines)).splitlines()
    return [_package(entry, path) for entry in entries]


def _package(entry: str, path: Path) -> LockedPackage:
    text, *hashes = entry.split(" --hash=")
    requirement = Requirement(text)
    pins = list(requirement.specifier)
    pinned = len(pins) == 1 and pins[0].operator == "==" and not pins[0].version.endswith(".*")
    if requirement.url or requirement.extras or not pinned:
        raise ValueError(f"{path.name}: {text!r} is not NAME==VERSION")
    if not all(_HASH.fullmatch(f"--hash={value.strip()}") for value in hashes):
        raise ValueError(f"{path.name}: {requirement.name} has a hash that is not SHA-256")
    return LockedPackage(requirement.name, pins[0].version, requirement.marker, tuple(map(str.strip, hashes)))
