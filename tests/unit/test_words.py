"""Texts for people keep to the words in `tools/words.toml`, and the documentation to its number of words."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.pages import ROOT, pages, without_code
from tools.doc_words import MOST_WORDS, hand_written

LISTS = tomllib.loads((ROOT / "tools" / "words.toml").read_text(encoding="utf-8"))
SOURCES = [file for folder in ("config", "tasks", "worker") for file in sorted((ROOT / folder).rglob("*.py"))]
CATALOGUES = sorted((ROOT / "worker" / "locales").glob("*.json"))
# The open part of the CHANGELOG is written in these words; what was released stays as it was.
RELEASED = re.compile(r"^## \d.*", re.MULTILINE | re.DOTALL)
PAGES = pages()
# Names that others use stay as they are: the messages of log events, and what stands between backquotes.
OUTSIDE_NAMES = json.loads((ROOT / "tests" / "golden" / "outside_names.json").read_text(encoding="utf-8"))
LOG_EVENTS = {event.partition(": ")[2] for event in OUTSIDE_NAMES["log_events"]}
NAMES = re.compile(r"(`+)[^`\n]+\1")


def find(text: str, language: str) -> list[str]:
    """Return the words of a text that we don't use, each with what to write."""
    found = [*matches(text, LISTS[language], re.IGNORECASE)]
    return [*found, *matches(text, LISTS["spelling"], 0)] if language == "english" else found


def matches(text: str, words: dict[str, str], flags: int) -> Iterator[str]:
    for word, instead in words.items():
        yield from (f"{match[0]}: {instead}" for match in re.finditer(rf"\b(?:{word})\b", text, flags))


def read(page: Path) -> str:
    text = page.read_text(encoding="utf-8")
    return RELEASED.sub("", text) if page.name == "CHANGELOG.md" else text


def is_french(page: Path) -> bool:
    return page.name.endswith(".fr.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_a_page_is_written_in_our_words(page: Path) -> None:
    assert find(without_code(read(page)), "french" if is_french(page) else "english") == []


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda file: file.stem)
def test_a_catalogue_is_written_in_our_words(catalogue: Path) -> None:
    texts = json.loads(catalogue.read_text(encoding="utf-8"))
    languages = {"en": "english", "fr": "french"}
    wrong = {
        (key, language): found
        for key, text in texts.items()
        for language, words in text.items()
        if (found := find(words, languages[language]))
    }
    assert wrong == {}


def test_texts_and_docstrings_in_the_code_are_written_in_our_words() -> None:
    wrong = {}
    for file in SOURCES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value):
                continue
            if node.value in LOG_EVENTS:
                continue
            if found := list(matches(NAMES.sub("", node.value), LISTS["english"], re.IGNORECASE)):
                wrong[f"{file.relative_to(ROOT)}:{node.lineno}"] = found
    assert wrong == {}


def test_comments_are_written_in_our_words() -> None:
    wrong = {}
    for file in SOURCES:
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            comment = re.search(r"(?:^|\s)# (.*)", line)
            if comment and (found := list(matches(comment[1], LISTS["english"], re.IGNORECASE))):
                wrong[f"{file.relative_to(ROOT)}:{number}"] = found
    assert wrong == {}


@pytest.mark.parametrize("page", [page for page in PAGES if is_french(page)], ids=lambda page: page.name)
def test_a_french_page_has_french_apostrophes_and_quotation_marks(page: Path) -> None:
    # The titles of links in Markdown are in straight quotation marks: none is used.
    assert re.findall(r".{0,20}(?<=\w)['\"].{0,10}", without_code(read(page))) == []


@pytest.mark.parametrize("catalogue", CATALOGUES, ids=lambda file: file.stem)
def test_a_french_text_has_french_apostrophes_and_spaces(catalogue: Path) -> None:
    texts = json.loads(catalogue.read_text(encoding="utf-8"))
    french = {key: re.sub(r"https?://\S+|`[^`]*`|\{[^}]*\}|<[^>]*>", "x", text["fr"]) for key, text in texts.items()}
    wrong = r"\w'\w|\"|\w[;?!»]|«\S|\w:(?=\s|$)|\.\.\."
    assert {key: text for key, text in french.items() if re.search(wrong, text)} == {}


def test_the_documentation_is_short_enough_to_be_read() -> None:
    words = hand_written()
    assert sum(words.values()) <= MOST_WORDS, words


def test_a_word_that_we_do_not_use_would_be_found() -> None:
    assert find("It is done anew.", "english") == ["anew: again"]
    assert find("We use postgres and Postgresql.", "english") == ["Postgresql: PostgreSQL"]
    assert find("L’état de la flotte", "french") == ["flotte: parc"]
