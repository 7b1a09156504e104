"""One version everywhere, a CHANGELOG that people can act on, and a table of the settings that are gone (D25)."""

from __future__ import annotations

import re

import pytest

from config.unknown_settings import REMOVED
from tests.support.releases import VERSION
from tools.lock_files import ROOT

CHANGES = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
RELEASES = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", CHANGES, re.MULTILINE | re.DOTALL))
HEADING = re.compile(r"(\d+\.\d+\.\d+) \(\d{4}-\d{2}-\d{2}\)")
SECTIONS = ["Action required", "Added", "Changed", "Fixed", "Removed"]
LONGEST = 20


def test_image_and_examples_have_the_version_of_the_package() -> None:
    named = {
        "Dockerfile": r'image\.version="([^"]+)"',
        "deploy/kubernetes/overlays/example/kustomization.yaml": r"newTag: (\S+)",
        "deploy/kubernetes/overlays/example-rabbitmq/kustomization.yaml": r"newTag: (\S+)",
        "README.md": r"dist/releve-(\S+?)-py3",
        "README.fr.md": r"dist/releve-(\S+?)-py3",
        "docs/how-to/scale-out.md": r"/releve:(\S+) \.",
    }
    for file, pattern in named.items():
        assert re.findall(pattern, (ROOT / file).read_text(encoding="utf-8")) == [VERSION], file


@pytest.mark.parametrize("name", ["README.md", "README.fr.md"])
def test_d10_the_readme_installs_before_it_calls_the_command(name: str) -> None:
    lines = re.findall(r"^    (.+?)(?:  +#.*)?$", (ROOT / name).read_text(encoding="utf-8"), re.MULTILINE)
    calls = next(number for number, line in enumerate(lines) if line.startswith("releve "))
    assert lines[0].startswith("git clone")
    assert lines[calls - 3 : calls] == [
        "python3 -m venv ~/releve-env && . ~/releve-env/bin/activate",
        "pip install --require-hashes -r requirements/run.lock",
        "pip install --no-deps .",
    ]


def test_the_image_gets_the_commit_where_the_wheel_and_its_label_are_made() -> None:
    stages = (ROOT / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")
    assert [stage.count("\nARG SOURCE_COMMIT=\n") for stage in stages] == [0, 1, 1]
    assert 'image.revision="${SOURCE_COMMIT}"' in stages[2]


def test_the_changes_begin_with_an_open_section_and_the_newest_version_is_this_one() -> None:
    first, *versions = RELEASES
    assert first == "Unreleased"
    numbers = [HEADING.fullmatch(version) for version in versions]
    assert numbers and all(numbers)
    assert next(number[1] for number in numbers if number) == VERSION


@pytest.mark.parametrize("release", RELEASES)
def test_each_change_is_one_line_of_at_most_twenty_words_and_action_comes_first(release: str) -> None:
    sections = re.findall(r"^### (.+)$", RELEASES[release], re.MULTILINE)
    assert sections == [section for section in SECTIONS if section in sections]
    lines = [line for line in RELEASES[release].splitlines() if line and not line.startswith("#")]
    too_long = [line for line in lines if len(line.removeprefix("- ").split()) > LONGEST]
    assert [line for line in lines if not line.startswith("- ")] == [] and too_long == []


def test_the_table_of_gone_settings_is_that_of_the_code() -> None:
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    table = page.partition("\n## Renamed and removed settings\n")[2]
    rows = re.findall(r"^\| `(RELEVE_\w+)` \| (\d+\.\d+\.\d+) \| (.+) \|$", table, re.MULTILINE)
    assert rows == [(name, gone.version, gone.instead) for name, gone in REMOVED.items()]
