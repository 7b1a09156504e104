"""What the checks read of a project: its pages, modules and catalogues, each read and parsed once."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tools.doc_words import prose_of

PACKAGES = ("config", "tasks", "worker", "simulator", "drill")
# The open part of the CHANGELOG is written in our words; what was released stays as it was.
_RELEASED = re.compile(r"^## \d.*", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True, order=True)
class Fault:
    """What is wrong at a line of a file, and what to do."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.what}"


class Page:
    """A page in Markdown; texts that are left out leave their line breaks, so that lines keep their numbers."""

    def __init__(self, path: str, text: str) -> None:
        self.path, self.text = path, text
        self.is_french = path.endswith(".fr.md")

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @cached_property
    def prose(self) -> str:
        """What the page says outside of code blocks, comments and the addresses of links."""
        return prose_of(_RELEASED.sub("", self.text) if self.name == "CHANGELOG.md" else self.text)

    @cached_property
    def words(self) -> str:
        """The prose without inline code and without indented blocks."""
        return re.sub(r"`[^`\n]*`|^ {4}.*$", "", self.prose, flags=re.MULTILINE)

    @cached_property
    def links(self) -> list[tuple[int, str]]:
        """Position and target of each link to a page or image of the project."""
        found = re.finditer(r"\]\(([^)\s]+)\)", self._without_blocks)
        return [(match.start(), match[1]) for match in found if "://" not in match[1]]

    @cached_property
    def anchors(self) -> set[str]:
        """The anchors of the headings, formed as Git forges and our site form them."""
        return {_slug(heading) for heading in re.findall(r"^#{1,6} +(.+?) *$", self._without_blocks, re.MULTILINE)}

    @cached_property
    def _without_blocks(self) -> str:
        def blank(block: re.Match[str]) -> str:
            return re.sub(r"[^\n]", " ", block[0])

        return re.sub(r"^```.*?^```", blank, self.text, flags=re.MULTILINE | re.DOTALL)

    def fault(self, at: int | str, what: str) -> Fault:
        """Return a fault at a position, or at the first line that has a text."""
        position = at if isinstance(at, int) else max(self.text.find(at), 0)
        return Fault(self.path, self.text.count("\n", 0, position) + 1, what)


def _slug(heading: str) -> str:
    plain = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading)
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain.lower()))


class Module(Page):
    """A module of the code, with what the checks look for in its syntax tree."""

    def __init__(self, path: str, text: str) -> None:
        super().__init__(path, text)
        self.strings: list[tuple[int, str]] = []
        self.joined: list[ast.JoinedStr] = []
        self.classes: list[ast.ClassDef] = []
        self.constants: list[ast.Attribute] = []  # Such as Series.DAILY.
        self.called: list[tuple[int, str]] = []  # Line and name of each call of a name.
        self.imported: list[tuple[int, str]] = []  # Line and full name of each absolute import.
        for node in ast.walk(ast.parse(text)):
            self._sort(node)

    def _sort(self, node: ast.AST) -> None:
        match node:
            case ast.Constant(value=str(value)):
                self.strings.append((node.lineno, value))
            case ast.JoinedStr():
                self.joined.append(node)
            case ast.ClassDef():
                self.classes.append(node)
            case ast.Attribute(value=ast.Name()) if node.attr.isupper():
                self.constants.append(node)
            case ast.Call(func=ast.Name(id=name)):
                self.called.append((node.lineno, name))
            case ast.Import():
                self.imported += [(node.lineno, alias.name) for alias in node.names]
            case ast.ImportFrom(module=str(name), level=0):
                self.imported += [(node.lineno, f"{name}.{alias.name}") for alias in node.names]


class Catalogue(Page):
    """Texts by key and language."""

    @cached_property
    def texts(self) -> dict[str, dict[str, str]]:
        texts: dict[str, dict[str, str]] = json.loads(self.text)
        return texts

    def fault_of_key(self, key: str, what: str) -> Fault:
        return self.fault(f'"{key}":', f"{key}: {what}")


class Project:
    """A folder with the code and its texts.  Reading a file that is not there raises FileNotFoundError."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._pages: dict[str, Page] = {}

    def page(self, path: str) -> Page:
        """Return a file that is read as text, whatever its form."""
        if path not in self._pages:
            self._pages[path] = Page(path, self._read(self.root / path))
        return self._pages[path]

    def read(self, path: str) -> str:
        return self.page(path).text

    def exists(self, path: str) -> bool:
        return (self.root / path).exists()

    def paths(self, folder: str, pattern: str) -> list[str]:
        """Return the files of a folder, relative to the project, in order."""
        return [file.relative_to(self.root).as_posix() for file in sorted((self.root / folder).rglob(pattern))]

    @cached_property
    def pages(self) -> list[Page]:
        at_the_top = sorted(file.name for file in self.root.glob("*.md"))
        return [self.page(path) for path in (*at_the_top, *self.paths("docs", "*.md"))]

    @cached_property
    def modules(self) -> list[Module]:
        paths = (path for package in PACKAGES for path in self.paths(package, "*.py"))
        return [Module(path, self._read(self.root / path)) for path in paths]

    @cached_property
    def catalogues(self) -> list[Catalogue]:
        paths = self.paths("worker/locales", "*.json")
        return [Catalogue(path, self._read(self.root / path)) for path in paths]

    @cached_property
    def log_events(self) -> set[str]:
        """The messages of log events, which others use and which stay as they are."""
        recorded: dict[str, Any] = json.loads(self.read("tests/golden/outside_names.json"))
        return {event.partition(": ")[2] for event in recorded["log_events"]}

    @cached_property
    def tests(self) -> tuple[set[str], set[str]]:
        """The names of all files with tests, and of all tests."""
        files = self.paths("tests", "test_*.py")
        tests = "\n".join(self._read(self.root / path) for path in files)
        return {path.rpartition("/")[2] for path in files}, set(
            re.findall(r"^(?:async )?def (test_\w+)\(", tests, re.M)
        )

    @staticmethod
    def _read(file: Path) -> str:
        return file.read_text(encoding="utf-8")


def cells(text: str, heading: str) -> Iterator[list[str]]:
    """Yield the cells of each row of the table below a heading of the second level, without its first two lines."""
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    yield from ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])
