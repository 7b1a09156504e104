"""What accompanies the files of a release: notes, sums, an unsigned statement of origin, and the app's repository.

The statement is an in-toto Statement 1 with SLSA provenance 1 (slsa.dev/spec/v1.0/provenance). Nobody has signed it: it
proves nothing until its owner signs it, or signs SHA256SUMS, which contains its sum.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from tools.release.checks import ReleaseRefused

_LINK: Final = re.compile(r"\[([^\]]+)\]\((?![a-z]+://)([^)\s]+)\)")
_LOCAL_BUILDER: Final = "urn:releve:builder:somebodys-computer"
_BUILD_TYPE: Final = "urn:releve:make-release:1"
_SUMS: Final = "SHA256SUMS"
_APP_FILES: Final = ("DOCS.md", "icon.png", "logo.png")


def to_notes(version: str, section: str) -> str:
    """Return the text of the release's page; links to files of the project become their paths."""
    text = _LINK.sub(r"\1: `\2`", section)
    return f"# Relève {version}\n\n{text}\n"


def find_builder_id(environment: Mapping[str, str]) -> str:
    """Return the URI of who builds: the CI's workflow, or a name for any other computer."""
    if repository := environment.get("GITHUB_REPOSITORY"):  # Forgejo has the same variables.
        workflow = environment.get("GITHUB_WORKFLOW_REF") or repository
        return f"{environment['GITHUB_SERVER_URL']}/{workflow}"
    if project := environment.get("CI_PROJECT_URL"):
        return f"{project}/-/blob/{environment['CI_COMMIT_SHA']}/.gitlab-ci.yml"
    return _LOCAL_BUILDER


def to_public_address(remote: str) -> str | None:
    """Return a remote's address for the statement; None if it is a path, or contains a name or password."""
    parts = urlsplit(remote)
    return f"git+{remote}" if parts.scheme == "https" and parts.hostname and "@" not in parts.netloc else None


def to_statement(
    subjects: Mapping[str, str],
    parameters: Mapping[str, str],
    source: tuple[str | None, str],
    builder: str,
    times: tuple[datetime, datetime],
) -> dict[str, Any]:
    """Return the statement about the files, whose SHA-256 are given by name; source is an address and a commit."""
    address, commit = source
    material: dict[str, Any] = {"uri": address} if address else {}
    started, finished = (moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in times)
    return {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{"name": name, "digest": {"sha256": digest}} for name, digest in sorted(subjects.items())],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": dict(parameters),
                "resolvedDependencies": [material | {"digest": {"gitCommit": commit}}],
            },
            "runDetails": {
                "builder": {"id": builder},
                "metadata": {"startedOn": started, "finishedOn": finished},
            },
        },
    }


def to_sums(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in the folder and below, but the sums and their signature, by its path."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(_SUMS))
    sums = {}
    for file in files:
        with file.open("rb") as content:
            sums[file.relative_to(folder).as_posix()] = hashlib.file_digest(content, "sha256").hexdigest()
    return sums


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS for all other files, as `sha256sum --check` reads it."""
    lines = [f"{digest}  {path}\n" for path, digest in to_sums(folder).items()]
    (folder / _SUMS).write_text("".join(lines), encoding="utf-8")


def write_statement(folder: Path, version: str, statement: Mapping[str, Any]) -> None:
    text = json.dumps(statement, indent=2, ensure_ascii=False)
    (folder / f"releve-{version}.intoto.json").write_text(f"{text}\n", encoding="utf-8")


def write_app_repository(app: Path, image: str, notes: str, folder: Path) -> None:
    """Write the repository that Home Assistant reads: its own file, and the app with the name of its image."""
    config = (app / "config.yaml").read_text(encoding="utf-8")
    with_image, count = re.subn(r"^(slug: .+\n)", rf"\1image: {image}\n", config, count=1, flags=re.MULTILINE)
    if count != 1 or re.search(r"^image:", config, re.MULTILINE):
        raise ReleaseRefused("deploy/home-assistant/config.yaml must have a slug, and no image of its own")
    target = folder / "releve"
    shutil.copytree(app / "translations", target / "translations")
    for name in _APP_FILES:
        shutil.copy(app / name, target / name)
    (target / "config.yaml").write_text(with_image, encoding="utf-8")
    # The store shows the first part; how to build the app concerns only the project's folder.
    introduction = (app / "README.md").read_text(encoding="utf-8").partition("\n## ")[0]
    (target / "README.md").write_text(f"{introduction.strip()}\n", encoding="utf-8")
    (target / "CHANGELOG.md").write_text(notes, encoding="utf-8")
    (folder / "repository.yaml").write_text("name: Relève\n", encoding="utf-8")
