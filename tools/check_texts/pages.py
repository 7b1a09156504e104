"""What pages name is there: files, headings, commands, settings, tests."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from difflib import get_close_matches
from posixpath import dirname, join, normpath

import click

from config.settings import PREFIX, Settings
from config.unknown_settings import REMOVED
from tools.check_texts.project import Fault, Page, Project
from worker.cli.gas_option import REFERENCE as WITH_GAS
from worker.cli.main import cli, find_alias

SETTINGS = {PREFIX + name.upper() for name in Settings.model_fields}
SECRET_FILES = {f"{setting}_FILE" for setting in SETTINGS}
_MAPS_OF_THE_CODE = {"docs/explanation/architecture.md", "docs/explanation/access.md"}
_PAGES_OF_PROMISES = ("SECURITY.md", "docs/reference/asvs.md", "docs/how-to/scale-out.md")


def links(project: Project) -> Iterator[Fault]:
    for page in project.pages:
        for position, link in page.links:
            path, _, anchor = link.partition("#")
            target = normpath(join(dirname(page.path), path)) if path else page.path
            if not project.exists(target):
                yield page.fault(position, f"{link}: this file is not there")
            elif anchor and anchor not in (anchors := project.page(target).anchors):
                near = " or ".join(get_close_matches(anchor, anchors, 2))
                yield page.fault(position, f"{link}: this heading is not there{near and f'; near: {near}'}")


def commands(project: Project) -> Iterator[Fault]:
    for page in project.pages:
        for position, line in _commands_of(page):
            words = shlex.split(line)[1:]
            if f'"{words[0]}": ListedCommand(' in page.text:  # The page tells how to add this command.
                continue
            if page.name == "CHANGELOG.md" and (alias := find_alias(words)):
                words = alias[1]
            if problem := _problem_of(words):
                yield page.fault(position, f"{line}: {problem}; docs/reference/cli.md has all commands")


def _commands_of(page: Page) -> Iterator[tuple[int, str]]:
    """Yield the calls of `releve` in code, inline or in blocks, without the shell's words before and behind."""
    codes = list(_code_of(page))
    for block in re.finditer(r"^ *```(?!python)\w*\n(.*?)^ *```", page.text, re.MULTILINE | re.DOTALL):
        codes += [(block.start(1) + line.start(), line[0]) for line in re.finditer(r".+", block[1])]
    for position, code in codes:
        if call := re.search(r"(?<![\w/.-])releve (?:-v )?(?=[a-z])[^#;|&)>]+", code):
            yield position, call[0].replace("releve -v ", "releve ").strip()


def _code_of(page: Page) -> Iterator[tuple[int, str]]:
    """Yield what is between backticks on a line, and the lines of indented blocks."""
    for code in (r"`([^`\n]+)`", r"^    (.+)$"):
        yield from ((match.start(), match[1]) for match in re.finditer(code, page.text, re.MULTILINE))


def _problem_of(words: list[str]) -> str:
    """Return what is wrong with the words and options of a call, or nothing."""
    command: click.Command = cli
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        name = words.pop(0)
        subcommand = command.get_command(click.Context(command, obj=WITH_GAS), name)
        if subcommand is None:
            return f"there is no command “{name}”"
        command = subcommand
    names = ([*parameter.opts, *parameter.secondary_opts] for parameter in command.params)
    options = {"--help", "-h"}.union(*names)
    unknown = {word.partition("=")[0] for word in words if word.startswith("--")} - options
    return f"there is no option {', '.join(sorted(unknown))}" if unknown else ""


def settings(project: Project) -> Iterator[Fault]:
    of_tests = set(re.findall(r'"(RELEVE_TEST_\w+)"', "\n".join(map(project.read, project.paths("tests", "*.py")))))
    for page in project.pages:
        known = SETTINGS | SECRET_FILES | of_tests
        if page.name in ("CHANGELOG.md", "settings.md"):
            known |= set(REMOVED)
        for name in sorted(set(re.findall(rf"\b{PREFIX}[A-Z][A-Z_]*[A-Z]\b", page.text)) - known):
            yield page.fault(name, f"{name}: config/settings.py has no such setting")


def files(project: Project) -> Iterator[Fault]:
    """Find paths of files that are not there: of tests on all pages, of the code on those that are maps of it."""
    for page in project.pages:
        made = re.findall(r"^`([\w/.]+)`, a new file:$", page.text, re.MULTILINE)
        of_tests = re.finditer(r"(?:`|\bT=)(tests/[\w/]*(?:\.\w+)?)", page.text)
        of_code = re.finditer(r"`((?:config|tasks|tools|worker)/[\w/.]*)`", page.text)
        for match in (*of_tests, *(of_code if page.path in _MAPS_OF_THE_CODE else ())):
            if match[1] not in made and not project.exists(match[1]):
                yield page.fault(match.start(1), f"{match[1]} is not there")


def tests(project: Project) -> Iterator[Fault]:
    names_of_files, names_of_tests = project.tests
    for path in _PAGES_OF_PROMISES:
        page = project.page(path)
        for match in re.finditer(r"`(test_\w+(?:\.py)?)`", page.text):
            name = match[1]
            known = names_of_files if name.endswith(".py") else names_of_tests
            if name not in known:
                near = " or ".join(get_close_matches(name, known, 2, 0.75)) or "the test that proves this"
                yield page.fault(match.start(), f"no test has this name: {name}; name {near}")
        for match in re.finditer(r"`(test_[^`]*)`", page.text):
            if not re.fullmatch(r"test_\w+(?:\.py)?", match[1]):
                yield page.fault(match.start(), f"{match[1]}: name the test or the file alone")


def readmes(project: Project) -> Iterator[Fault]:
    """Find what one README names and the other does not; pages and pictures may have a twin in the other language."""
    english, french = project.page("README.md"), project.page("README.fr.md")
    if absent := {"releve doctor", "releve up", "releve status"} - {call for _, call in _commands_of(english)}:
        yield Fault(english.path, 1, f"show {', '.join(sorted(absent))}")
    for page, other in ((english, french), (french, english)):
        there = _code_and_links(other)
        for text, position in _code_and_links(page).items():
            if text not in there:
                yield page.fault(position, f"{text} is not in {other.path}")


def _code_and_links(page: Page) -> dict[str, int]:
    """Return code without comments, and links without their language, each with its first position."""
    found = [(position, f"`{code.partition('  #')[0].rstrip()}`") for position, code in _code_of(page)]
    found += [(position, re.sub(r"\.(?:fr|en)(?=\.(?:md|png)$)", "", link)) for position, link in page.links]
    return {text: position for position, text in reversed(found)}


def side_bar(project: Project) -> Iterator[Fault]:
    bar = project.page("mkdocs.yml")
    named = re.findall(r": ([\w./-]+\.md)$", bar.text, re.MULTILINE)
    there = [page.path.removeprefix("docs/") for page in project.pages if page.path.startswith("docs/")]
    for path in sorted(set(named) | set(there)):
        if (named.count(path), there.count(path)) != (1, 1):
            what = "is not there" if path not in there else "must be in the side bar once"
            yield bar.fault(path, f"docs/{path} {what}")


CHECKS = (links, commands, settings, files, tests, readmes, side_bar)
