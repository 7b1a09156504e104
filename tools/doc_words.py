"""The number of words in the documentation, by kind of page: `python -m tools.doc_words` prints them as JSON.

A word has a letter. Code blocks, the addresses of links, pages that are made from the code, and translations don't
count.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
GENERATED: Final = frozenset(
    f"reference/{name}.md" for name in ("cli", "errors", "licences", "metrics", "settings", "states")
)
MOST_WORDS: Final = 29_000


def prose_of(text: str) -> str:
    """Return a page of Markdown without code blocks, HTML comments and the addresses of links, line by line."""
    text = re.sub(r"<!--.*?-->", _line_breaks, text, flags=re.DOTALL)
    text = re.sub(r"^( *)```.*?^\1```$", _line_breaks, text, flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"\]\([^)\s]*\)", "]", text)


def _line_breaks(left_out: re.Match[str]) -> str:
    return "\n" * left_out[0].count("\n")


def count_words(text: str) -> int:
    """Return the number of words of a page; inline code counts as it is read, code blocks do not."""
    return sum(bool(re.search(r"[^\W\d_]", word)) for word in prose_of(text).split())


def hand_written(docs: Path = DOCS) -> dict[str, int]:
    """Return the words of each page that is written by hand, in English; SECURITY.md is one."""
    pages = {page.relative_to(docs).as_posix(): page for page in sorted(docs.rglob("*.md"))}
    pages["SECURITY.md"] = docs.parent / "SECURITY.md"
    return {
        name: count_words(page.read_text(encoding="utf-8"))
        for name, page in pages.items()
        if name not in GENERATED and not name.endswith(".fr.md")
    }


def main() -> None:
    """Print the words of each kind of page and their sum."""
    words = hand_written()
    kinds: Counter[str] = Counter()
    for name, number in words.items():
        kinds[name.partition("/")[0] if "/" in name else "top"] += number
    report = json.dumps({"pages": len(words), "kinds": kinds, "words": kinds.total(), "most": MOST_WORDS}, indent=1)
    sys.stdout.write(report + "\n")


if __name__ == "__main__":
    main()
