"""The requirements of setup.cfg are installed here, and every imported package is among them."""

from __future__ import annotations

import ast
import configparser
import sys
from importlib.metadata import packages_distributions, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
PARTS_OF = {  # Packages that belong to another one's public interface.
    "celery": {"amqp", "billiard", "kombu"},
    "pydantic": {"pydantic-core"},
    "requests-oauthlib": {"oauthlib"},
    "starlette": {"anyio"},
}
PACKAGES = ("config", "tasks", "worker")


def requirements_of(section: str, option: str) -> list[Requirement]:
    return [Requirement(line) for line in SETUP[section][option].split("\n") if line]


RUNNING = requirements_of("options", "install_requires")
ALL = [*RUNNING, *requirements_of("options.extras_require", "dev")]


@pytest.mark.parametrize("requirement", ALL, ids=lambda requirement: requirement.name)
def test_the_installed_version_is_one_that_is_asked_for(requirement: Requirement) -> None:
    if requirement.marker is None or requirement.marker.evaluate():
        assert requirement.specifier.contains(version(requirement.name), prereleases=True)


def imported_names() -> set[str]:
    """Return the top-level names that the program imports from outside itself and the standard library."""
    names: set[str] = set()
    for file in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names) - set(PACKAGES)


def test_all_that_is_imported_is_asked_for_by_name() -> None:
    """A package that comes only with another one may disappear with its next version."""
    names = {canonicalize_name(requirement.name) for requirement in RUNNING}
    names |= {part for name in names for part in PARTS_OF.get(name, ())}
    distributions = packages_distributions()
    missing = {
        name
        for name in imported_names()
        if not names & {canonicalize_name(distribution) for distribution in distributions.get(name, [])}
    }
    assert missing == set()
