"""Texts for people keep to the words in `tools/words.toml`, and the documentation to its number of words."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache

from tools import doc_words
from tools.check_texts.project import Fault, Project

_LANGUAGES = {"en": "english", "fr": "french"}
# Names that others use stay as they are between backquotes.
_NAMES = re.compile(r"(`+)[^`\n]+\1")
_COMMENT = re.compile(r"(?:^|(?<=\s))# (.*)", re.MULTILINE)
_NO_FRENCH = re.compile(r"https?://\S+|`[^`]*`|\{[^}]*\}|<[^>]*>")
_WRONG_IN_FRENCH = re.compile(r"\w'\w|\"|\w[;?!»]|«\S|\w:(?=\s|$)|\.\.\.")


@cache
def _list(name: str) -> tuple[re.Pattern[str], list[tuple[re.Pattern[str], str]]]:
    """Return a pattern of any word of a list in `tools/words.toml`, and each word with what to write instead."""
    words = tomllib.loads((doc_words.ROOT / "tools" / "words.toml").read_text(encoding="utf-8"))[name]
    flags = re.NOFLAG if name == "spelling" else re.IGNORECASE
    each = [(re.compile(rf"\b(?:{word})\b", flags), instead) for word, instead in words.items()]
    return re.compile(rf"\b(?:{'|'.join(words)})\b", flags), each


def find_words(text: str, *lists: str) -> Iterator[tuple[int, str]]:
    """Yield position and advice for each word of a text that we don't use."""
    for name in lists:
        some, each = _list(name)
        if some.search(text):
            for word, instead in each:
                yield from ((match.start(), f"“{match[0]}”: write {instead}") for match in word.finditer(text))


def _lists(language: str) -> tuple[str, ...]:
    return ("english", "spelling") if language == "english" else (language,)


def words_of_pages(project: Project) -> Iterator[Fault]:
    for page in project.pages:
        for position, what in find_words(page.words, *_lists("french" if page.is_french else "english")):
            yield Fault(page.path, page.words.count("\n", 0, position) + 1, what)


def words_of_catalogues(project: Project) -> Iterator[Fault]:
    for catalogue in project.catalogues:
        for key, texts in catalogue.texts.items():
            for language, text in texts.items():
                for _, what in find_words(text, *_lists(_LANGUAGES[language])):
                    yield catalogue.fault_of_key(key, what)


def words_of_the_code(project: Project) -> Iterator[Fault]:
    for module in project.modules:
        for line, text in module.strings:
            if " " in text and text not in project.log_events:
                yield from (Fault(module.path, line, what) for _, what in find_words(_NAMES.sub("", text), "english"))
        for comment in _COMMENT.finditer(module.text):
            yield from (module.fault(comment.start(1), what) for _, what in find_words(comment[1], "english"))


def marks_of_pages(project: Project) -> Iterator[Fault]:
    for page in project.pages:
        # The titles of links in Markdown are in straight quotation marks: none is used.
        for match in re.finditer(r".{0,20}(?<=\w)['\"].{0,10}", page.words) if page.is_french else ():
            line = page.words.count("\n", 0, match.start()) + 1
            yield Fault(page.path, line, f"{match[0]!r}: write ’ in place of ', and « » in place of \"")


def marks_of_catalogues(project: Project) -> Iterator[Fault]:
    for catalogue in project.catalogues:
        for key, texts in catalogue.texts.items():
            if found := _WRONG_IN_FRENCH.search(_NO_FRENCH.sub("x", texts["fr"])):
                yield catalogue.fault_of_key(key, f"French {found[0]!r}: write ’, « », …, and spaces before ; : ? ! »")
            if found := re.search(r"\w'|'\w|[\"«»]", texts["en"]):
                yield catalogue.fault_of_key(key, f"English {found[0]!r}: write ’ and “ ”")


def length_of_the_documentation(project: Project) -> Iterator[Fault]:
    words = doc_words.hand_written(project.root / "docs")
    if sum(words.values()) > doc_words.MOST_WORDS:
        longest = ", ".join(sorted(words, key=words.__getitem__, reverse=True)[:5])
        what = f"{sum(words.values())} words, more than {doc_words.MOST_WORDS}: shorten a page; the longest: {longest}"
        yield Fault("docs", 1, what)


CHECKS = (
    words_of_pages,
    words_of_catalogues,
    words_of_the_code,
    marks_of_pages,
    marks_of_catalogues,
    length_of_the_documentation,
)
