"""What we tell people is true: pages, links and examples are held to the code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from config import reference
from config.settings import PREFIX, Settings
from worker.cli.main import cli

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_the_settings_page_is_what_the_settings_say() -> None:
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == reference.to_markdown()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_to_a_file_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert missing == []


def test_the_readme_names_only_commands_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\breleve ([a-z]+)", text))
    assert named and named <= set(cli.list_commands(None))  # type: ignore[arg-type]


def test_every_variable_that_compose_asks_for_is_explained() -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "docker-compose.yml").read_text(encoding="utf-8")))
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    explained = set(re.findall(r"^#? ?([A-Z_]+)=", example, re.MULTILINE))
    optional = {"FLOWER_USER", "RELEVE_ENEDIS_AUTHORIZE_URL", "RELEVE_PRETEND_NOW"}
    assert asked - optional <= explained


def test_compose_and_example_set_only_settings_that_exist() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for name in ("docker-compose.yml", ".env.example"):
        used = set(re.findall(rf"\b{PREFIX}[A-Z_]+", (ROOT / name).read_text(encoding="utf-8")))
        assert used <= known
