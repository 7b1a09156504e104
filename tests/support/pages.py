"""The Markdown pages of the documentation, their links and their headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tools.doc_words import prose_of

ROOT = Path(__file__).parents[2]


def pages() -> list[Path]:
    return [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def links(text: str) -> Iterator[str]:
    """Yield the targets inside the repository, of pages and images."""
    for link in re.findall(r"\]\(([^)\s]+)\)", _without_code(text)):
        if "://" not in link:
            yield link


def anchors(text: str) -> set[str]:
    """Return the anchors of the headings, formed as Git forges and our site form them."""
    return {_slug(heading) for heading in re.findall(r"^#{1,6} +(.+?) *$", _without_code(text), re.MULTILINE)}


def without_code(text: str) -> str:
    """Return what a page says outside of code, of the addresses of links and of comments."""
    return re.sub(r"`[^`\n]*`|^ {4}.*$", "", prose_of(text), flags=re.MULTILINE)


def _slug(heading: str) -> str:
    plain = re.sub(r"[`*]|\]\([^)]*\)|\[", "", heading)
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain.lower()))


def _without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
