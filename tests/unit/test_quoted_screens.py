"""A text that a page quotes from the screen, “so” or « ainsi », is a text that Relève shows (D20)."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages import ROOT, without_code
from tools.doc_words import prose_of

DOCS = ROOT / "docs"
PAGES = [
    *sorted((DOCS / "how-to").glob("*.md")),
    *sorted((DOCS / "tutorial").glob("*.md")),
    DOCS / "reference" / "doctor.md",
    DOCS / "reference" / "logs.md",
]
# Readers of these pages compare them with the screen: nothing else is quoted there, in straight quotation marks either.
FOR_TROUBLE = ("troubleshooting", "move-and-erase")
# Texts on the pages of Enedis, which we can't look up.
NOT_OURS = {"Enregistrement et collecte de ma consommation horaire"}
QUOTED = re.compile(r"“([^”]+)”|«\s*([^»]+?)\s*»")


def texts() -> Iterator[str]:
    """Yield each text in the languages' files and each constant text of the code, ``…`` where something is put in."""
    for file in sorted((ROOT / "worker" / "locales").glob("*.json")):
        for translations in json.loads(file.read_text(encoding="utf-8")).values():
            yield from (text.replace("{supplier}", "Enedis") for text in translations.values())
    for file in sorted(file for folder in ("config", "tasks", "worker") for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    for file in (ROOT / "deploy").rglob("*.json"):
        yield from re.findall(r'"title": "([^"]+)"', file.read_text(encoding="utf-8"))


SHOWN = [" ".join(text.split()) for text in texts()]


def quotes(page: Path) -> list[str]:
    """Return what a page quotes outside of code, on one line each."""
    prose = without_code(page.read_text(encoding="utf-8"))
    found = [" ".join((one or other).split()) for one, other in QUOTED.findall(prose)]
    if page.stem in FOR_TROUBLE:
        found += re.findall(r'"([^"]+)"', prose)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_d20_each_quoted_text_is_on_the_screen(page: Path) -> None:
    ours = [quote for quote in quotes(page) if quote not in NOT_OURS]
    assert [quote for quote in ours if not any(quote in text for text in SHOWN)] == []


@pytest.mark.parametrize("name", [FOR_TROUBLE[0], "answer-a-household"])
def test_a_household_s_own_words_are_found_in_both_languages(name: str) -> None:
    text = (DOCS / "how-to" / f"{name}.md").read_text(encoding="utf-8")
    assert len(re.findall(r"“[^”]+” \(« [^»]+ »\)", text)) >= 4


# Backquotes also hold a message that the reader compares with the screen: three words or more that are no command.
MESSAGE = re.compile(r"`([^`\n]*[a-z’']{2,}(?: [\w’',:….]+){2,})`")
COMMANDS = (
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


def messages(page: Path) -> list[str]:
    """Return the messages in backquotes, without commands and code blocks."""
    prose = prose_of(page.read_text(encoding="utf-8"))
    found = [" ".join(message.split()) for message in MESSAGE.findall(prose)]
    return [message for message in found if not message.startswith(COMMANDS) and not re.search(r"[=/<>{}|]", message)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_each_message_in_backquotes_is_one_that_is_shown(page: Path) -> None:
    def is_shown(message: str) -> bool:
        # A setting's name stands before what is wrong with it, and is put there by the loader of settings.
        parts = [part.strip() for part in re.split(r"…|\d+|^RELEVE_[A-Z_]+:", message) if part.strip()]
        return any(all(part in text for part in parts) for text in SHOWN)

    assert [message for message in messages(page) if not is_shown(message)] == []


def test_messages_in_backquotes_are_found_at_all() -> None:
    assert len([message for page in PAGES for message in messages(page)]) > 15
