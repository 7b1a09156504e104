"""A text that a page quotes from the screen, “so”, « ainsi » or in backquotes, is a text that Relève shows (D20)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from tools.check_texts.project import Fault, Page, Project

# Readers of these pages compare them with the screen: nothing else is quoted there, in straight quotation marks either.
_FOR_TROUBLE = ("troubleshooting.md", "move-and-erase.md")
_OF_HOUSEHOLDS = ("docs/how-to/troubleshooting.md", "docs/how-to/answer-a-household.md")
_FEWEST_OF_HOUSEHOLDS = 4
# Texts on the pages of Enedis, which we can't look up.
_NOT_OURS = {"Enregistrement et collecte de ma consommation horaire"}
_QUOTED = re.compile(r"“([^”]+)”|«\s*([^»]+?)\s*»")
# Backquotes also hold a message that the reader compares with the screen: three words or more that are no command.
_MESSAGE = re.compile(r"`([^`\n]*[a-z’']{2,}(?: [\w’',:….]+){2,})`")
_COMMANDS = (
    "releve",
    "make",
    "docker",
    "pip",
    "pipx",
    "kubectl",
    "celery",
    "python",
    "from",
    "import",
    "Authorization:",
)


@cache
def _shown(project: Project) -> str:
    """Return the catalogues' texts and the code's constants, one a line, with ``…`` in place of values."""
    return "\n".join(" ".join(text.split()) for text in _texts(project))


def _texts(project: Project) -> Iterator[str]:
    for catalogue in project.catalogues:
        for texts in catalogue.texts.values():
            yield from (text.replace("{supplier}", "Enedis") for text in texts.values())
    for module in project.modules:
        yield from (text for _, text in module.strings)
        for joined in module.joined:
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "…" for part in joined.values)
    for path in project.paths("deploy", "*.json"):
        yield from re.findall(r'"title": "([^"]+)"', project.read(path))


def _pages(project: Project) -> list[Page]:
    folders = ("docs/how-to/", "docs/tutorial/")
    more = ("docs/reference/doctor.md", "docs/reference/logs.md")
    return [page for page in project.pages if page.path.startswith(folders) or page.path in more]


def quotes(project: Project) -> Iterator[Fault]:
    shown = _shown(project)
    for page in _pages(project):
        found = [(match.start(), match[1] or match[2]) for match in _QUOTED.finditer(page.words)]
        if page.name in _FOR_TROUBLE:
            found += [(match.start(), match[1]) for match in re.finditer(r'"([^"]+)"', page.words)]
        for position, text in found:
            quote = " ".join(text.split())
            if quote not in _NOT_OURS and quote not in shown:
                line = page.words.count("\n", 0, position) + 1
                yield Fault(page.path, line, f"Relève shows no text “{quote}”: quote it as it is, or without the marks")


def messages(project: Project) -> Iterator[Fault]:
    lines = _shown(project).splitlines()
    for page in _pages(project):
        for match in _MESSAGE.finditer(page.prose):
            message = " ".join(match[1].split())
            if message.startswith(_COMMANDS) or re.search(r"[=/<>{}|]", message):
                continue
            # A setting's name stands before what is wrong with it, and is put there by the loader of settings.
            parts = [part.strip() for part in re.split(r"…|\d+|^RELEVE_[A-Z_]+:", message) if part.strip()]
            if not any(all(part in line for part in parts) for line in lines):
                line = page.prose.count("\n", 0, match.start()) + 1
                yield Fault(page.path, line, f"Relève shows no message `{message}`: quote it as it is")


def words_of_households(project: Project) -> Iterator[Fault]:
    for path in _OF_HOUSEHOLDS:
        page = project.page(path)
        if len(re.findall(r"“[^”]+” \(« [^»]+ »\)", page.text)) < _FEWEST_OF_HOUSEHOLDS:
            yield page.fault(0, "a household's own words are in both languages: “…” (« … »)")


CHECKS = (quotes, messages, words_of_households)
