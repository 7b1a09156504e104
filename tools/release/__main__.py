"""Build a release in dist/: ``python -m tools.release 0.3.0 --image registry.example/owner/releve``.

1. Check the commit: version, date, clean files.
2. Extract the files of the commit; nothing else gets into the release.
3. Build sdist and wheel, install the wheel with the locked packages, and list them.
4. Build the images where a program for it is installed.
5. Write notes, the app's repository, the statement and the sums.
6. Replace dist/ with all this, and print what is lacking and the commands that publish it.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tools.release import checks, images, package, papers, publish
from tools.tested import ROOT, git

_LOCAL: Final = "localhost/"


def build_release(root: Path, version: str, image: str, options: list[str]) -> list[str]:
    """Build the release in dist/ and return a line for each thing that is lacking.  Raises ReleaseRefused."""
    started, commit = datetime.now(UTC), git(root, "rev-parse", "HEAD")
    work = root / "build" / "release"
    shutil.rmtree(work, ignore_errors=True)
    sources, folder = package.extract_commit(root, work / "source"), work / "dist"
    folder.mkdir()
    _say("sdist and wheel, and their trial with the locked packages")
    _, wheel = package.build_package(root, sources, folder)
    package.try_package(sources, wheel, version, commit, folder / f"releve-{version}.cdx.json")
    digests, lacking = _write_images(sources, folder, version, image, commit, options)
    section = checks.read_section((sources / "CHANGELOG.md").read_text(encoding="utf-8"), version)
    notes = papers.to_notes(version, section[1] if section else "")
    (folder / "release-notes.md").write_text(notes, encoding="utf-8")
    papers.write_app_repository(sources / "deploy" / "home-assistant", f"{image}-app", notes, folder / "home-assistant")
    if image.startswith(_LOCAL):
        lacking.append(
            f"home-assistant/ names {image}-app, which only this computer has: give IMAGE=REGISTRY/OWNER/releve"
        )
    subjects = {path: digest for path, digest in papers.to_sums(folder).items() if path.startswith("releve-")}
    remotes = git(root, "remote").splitlines()
    remote = git(root, "remote", "get-url", "origin") if "origin" in remotes else ""
    statement = papers.to_statement(
        subjects | digests,
        {"version": version, "image": image},
        (papers.to_public_address(remote), commit),
        papers.find_builder_id(os.environ),
        (started, datetime.now(UTC)),
    )
    papers.write_statement(folder, version, statement)
    papers.write_sums(folder)
    shutil.rmtree(root / "dist", ignore_errors=True)
    folder.rename(root / "dist")
    return lacking


def _write_images(
    sources: Path, folder: Path, version: str, image: str, commit: str, options: list[str]
) -> tuple[dict[str, str], list[str]]:
    """Return the digests of the images by their names, and what is lacking."""
    builder, lacking = images.find_builder()
    if builder is None:
        return {}, lacking
    _say(f"images for {' and '.join(builder.architectures)}, with {builder.program}")
    digests = {}
    for name, layouts in images.build_images(builder, sources, version, commit, options).items():
        digest = images.write_archive(layouts, f"{name}:{version}", folder / f"{name}-{version}.oci.tar")
        digests[f"{image}{name.removeprefix('releve')}:{version}"] = digest.removeprefix("sha256:")
    return digests, lacking


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def main(words: list[str]) -> int:
    """Build, or only check, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make release")
    parser.add_argument("version")
    parser.add_argument("--image", required=True, help="name of the image in its registry, without a tag")
    parser.add_argument("--image-options", default="", help="further options for the program that builds the images")
    parser.add_argument("--check", action="store_true", help="only look whether this commit can be released")
    given = parser.parse_args(words)
    try:
        faults = list(checks.find_faults(ROOT, given.version, given.image))
    except subprocess.CalledProcessError as error:  # Git has said why.
        faults = [f"{' '.join(error.cmd)} ended with {error.returncode}"]
    if faults or given.check:
        print("\n".join(faults), end="\n" if faults else "", file=sys.stderr)  # noqa: T201
        return 1 if faults else 0
    try:
        lacking = build_release(ROOT, given.version, given.image, shlex.split(given.image_options))
    except checks.ReleaseRefused as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 1
    os.chdir(ROOT)
    release = publish.read_release(Path("dist"))
    lines = [f"dist/{path}" for path in (*papers.to_sums(Path("dist")), "SHA256SUMS")]
    lines += ["", *(f"lacking: {line}" for line in lacking), "Nothing is published. These commands do it:"]
    for target, commands in publish.to_commands(release).items():
        lines += ["", f"# {target}", *map(shlex.join, commands)] if commands else []
    lines += ["", "# the app: replace the files of the Home Assistant repository with dist/home-assistant/"]
    _say("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
