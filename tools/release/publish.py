"""The commands that publish what is in dist/: ``python -m tools.release.publish package images page`` runs them.

`make release` prints the same commands. Nothing here creates a tag: the person who releases does it.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tools.release.papers import to_sums

Commands = list[list[str]]
_TARGETS: Final = ("package", "images", "page")


class NotPublished(Exception):
    """Something keeps dist/ from being published."""


@dataclass(frozen=True)
class Release:
    """What is in a folder: the version, the name of its image without a tag, and the commit."""

    folder: Path
    version: str
    image: str
    commit: str


def read_release(folder: Path) -> Release:
    """Return what the folder's statement says.  Raises NotPublished if a file isn't the one of SHA256SUMS."""
    statements = list(folder.glob("*.intoto.json"))
    if len(statements) != 1:
        raise NotPublished(f"{folder}: run make release first")
    written = (folder / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    if to_sums(folder) != {path: digest for digest, path in (line.split("  ", 1) for line in written)}:
        raise NotPublished(f"{folder}: the files aren't those of SHA256SUMS: run make release again")
    definition = json.loads(statements[0].read_text(encoding="utf-8"))["predicate"]["buildDefinition"]
    given, (material,) = definition["externalParameters"], definition["resolvedDependencies"]
    return Release(folder, given["version"], given["image"], material["digest"]["gitCommit"])


def to_commands(release: Release) -> dict[str, Commands]:
    """Return the commands by what they publish; the tag, which comes first, is for people only."""
    version, folder = release.version, release.folder
    tag = f"v{version}"
    files = sorted(str(file) for file in folder.iterdir() if file.is_file() and file.suffix != ".md")
    archives = [(name, folder / f"{name}-{version}.oci.tar") for name in ("releve", "releve-app")]
    copy = ["skopeo", "copy", "--all", "--preserve-digests"]
    page = ["--title", f"Relève {version}", "--notes-file", str(folder / "release-notes.md"), *files]
    uv = Path(os.path.relpath(sys.prefix), "tools", "bin", "uv")
    return {
        "tag": [
            ["git", "tag", "--sign", "--message", f"Relève {version}", tag, release.commit],
            ["git", "push", "origin", tag],
        ],
        "package": [[str(uv), "publish", *(file for file in files if file.endswith((".whl", ".tar.gz")))]],
        "images": [
            [*copy, f"oci-archive:{file}", f"docker://{release.image}{name.removeprefix('releve')}:{version}"]
            for name, file in archives
            if file.exists()
        ],
        "page": [["gh", "release", "create", tag, "--verify-tag", *page]],
    }


def publish(release: Release, targets: list[str], environment: Mapping[str, str]) -> None:
    """Run the commands of the targets.  Raises NotPublished at the first that fails, and for unknown targets."""
    if not targets or set(targets) - set(_TARGETS):
        raise NotPublished(f"say what to publish: {' '.join(_TARGETS)}")
    # CI sets a variable whose secret is missing to an empty text, which uv would take for a token.
    given = {name: value for name, value in environment.items() if value}
    for target in targets:
        commands = to_commands(release)[target]
        if not commands:
            raise NotPublished(f"{release.folder} has no {target}")
        for command in commands:
            print(shlex.join(command), flush=True)  # noqa: T201
            if subprocess.run(command, env=given, check=False).returncode:
                raise NotPublished(f"{command[0]} failed: {target} isn't published, or only in part")


if __name__ == "__main__":
    try:
        publish(read_release(Path("dist")), sys.argv[1:], os.environ)
    except NotPublished as error:
        sys.exit(str(error))
