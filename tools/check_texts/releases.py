"""One version everywhere, a CHANGELOG that people can act on, and an image that knows its commit (D25)."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator

from tools.check_texts.project import Fault, Project

PLACES_OF_THE_VERSION = {
    "Dockerfile": r'image\.version="([^"]+)"',
    "deploy/kubernetes/overlays/example/kustomization.yaml": r"newTag: (\S+)",
    "deploy/kubernetes/overlays/example-rabbitmq/kustomization.yaml": r"newTag: (\S+)",
    "README.md": r"dist/releve-(\S+?)-py3",
    "README.fr.md": r"dist/releve-(\S+?)-py3",
    "docs/how-to/scale-out.md": r"/releve:(\S+) \.",
    "deploy/home-assistant/config.yaml": r"(?m)^version: (\S+)$",
    "deploy/home-assistant/Dockerfile": r'io\.hass\.version="([^"]+)"',
}
HEADING = re.compile(r"(\d+\.\d+\.\d+) \((\d{4}-\d{2}-\d{2})\)")
_SECTIONS = ["Action required", "Added", "Changed", "Fixed", "Removed"]
_LONGEST = 20
_INSTALLATION = [
    "python3 -m venv ~/releve-env && . ~/releve-env/bin/activate",
    "pip install --require-hashes -r requirements/run.lock",
    "pip install --no-deps .",
    "mkdir -p ~/my-home && cd ~/my-home",
]


def version_of(project: Project) -> str:
    config = configparser.ConfigParser()
    config.read_string(project.read("setup.cfg"))
    return config["metadata"]["version"]


def read_releases(changes: str) -> list[tuple[str, str]]:
    """Return heading and text of each release in a CHANGELOG, the newest first."""
    return re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", changes, re.MULTILINE | re.DOTALL)


def versions(project: Project) -> Iterator[Fault]:
    version = version_of(project)
    for path, pattern in PLACES_OF_THE_VERSION.items():
        page = project.page(path)
        found = list(re.finditer(pattern, page.text))
        if [match[1] for match in found] != [version]:
            yield page.fault(found[0].start(1) if found else 0, f"name the version of setup.cfg once: {version}")


def installation(project: Project) -> Iterator[Fault]:
    """Find a README that calls the command before it installs it (D10)."""
    for path in ("README.md", "README.fr.md"):
        page = project.page(path)
        lines = re.findall(r"^    (.+?)(?:  +#.*)?$", page.text, re.MULTILINE)
        first = next((number for number, line in enumerate(lines) if line.startswith("releve ")), 0)
        if (
            not lines
            or not lines[0].startswith("git clone")
            or lines[max(first - len(_INSTALLATION), 0) : first] != _INSTALLATION
        ):
            yield page.fault("\n    releve ", f"before it: git clone …, and at last {'; '.join(_INSTALLATION)}")


def commit_of_the_image(project: Project) -> Iterator[Fault]:
    image = project.page("Dockerfile")
    stages = image.text.split("\nFROM ")
    if [stage.count("\nARG SOURCE_COMMIT=\n") for stage in stages] != [0, 1, 1]:
        yield image.fault("ARG SOURCE_COMMIT", "`ARG SOURCE_COMMIT=` is in the stages of wheel and image once each")
    if 'image.revision="${SOURCE_COMMIT}"' not in stages[-1]:
        yield image.fault("image.", 'the last stage has the label image.revision="${SOURCE_COMMIT}"')


def changes(project: Project) -> Iterator[Fault]:
    page = project.page("CHANGELOG.md")
    releases = read_releases(page.text)
    if not releases or releases[0][0] != "Unreleased":
        yield page.fault("\n## ", "the first section is “Unreleased”")
    for number, (heading, text) in enumerate(releases):
        at = f"## {heading}\n"
        found = HEADING.fullmatch(heading)
        if heading != "Unreleased" and not found:
            yield page.fault(at, f"“{heading}”: write VERSION (YYYY-MM-DD)")
        if number == 1 and found and found[1] != version_of(project):
            yield page.fault(at, f"the newest version is that of setup.cfg, {version_of(project)}")
        sections = re.findall(r"^### (.+)$", text, re.MULTILINE)
        if sections != [section for section in _SECTIONS if section in sections]:
            yield page.fault(at, f"sections of {heading}, each at most once and in this order: {', '.join(_SECTIONS)}")
        for line in (line for line in text.splitlines() if line and not line.startswith(("#", "  | "))):
            if not line.startswith("- "):
                yield page.fault(line, "a change is one line and begins with “- ”, or a table belongs to it")
            elif len(line.removeprefix("- ").split()) > _LONGEST:
                yield page.fault(line, f"a change has at most {_LONGEST} words")


CHECKS = (versions, installation, commit_of_the_image, changes)
