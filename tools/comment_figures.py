"""Print how many comments begin as sentences, and how many comment lines stand in 100 lines, as one JSON line.

A block of comment lines counts as one comment, and a capital first letter makes a sentence. Comments behind code count
too. Directives for tools (``noqa``, ``type:``, ``fmt:``, ``pragma``) are left out.

    python -m tools.comment_figures [FOLDER …]
"""

from __future__ import annotations

import io
import json
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

USUAL_FOLDERS = ("config", "tasks", "worker")
_DIRECTIVE = re.compile(r"#\s*(?:noqa|type:|fmt:|pragma|!)")


def comments_in(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment's number of lines and its text without the hash."""
    lines = source.splitlines()
    block: list[str] = []
    last_row = -1
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or _DIRECTIVE.match(token.string):
            continue
        row, column = token.start
        stands_alone = not lines[row - 1][:column].strip()
        text = token.string.lstrip("#:").strip()
        if block and stands_alone and row == last_row + 1:
            block.append(text)
        else:
            if block:
                yield len(block), " ".join(block)
            block = [text]
        # A comment behind code is a block of its own.
        last_row = row if stands_alone else -1
    if block:
        yield len(block), " ".join(block)


def figures_of(files: Iterable[Path]) -> dict[str, float | int]:
    """Return the counts and the two shares, in percent and in comment lines per 100 lines."""
    comments = sentences = comment_lines = code_lines = 0
    for file in files:
        source = file.read_text(encoding="utf-8")
        code_lines += len(source.splitlines())
        for lines, text in comments_in(source):
            letter = next((sign for sign in text if sign.isalpha()), "")
            comments, comment_lines = comments + 1, comment_lines + lines
            sentences += letter.isupper()
    return {
        "comments": comments,
        "sentences": sentences,
        "sentences_percent": round(100 * sentences / max(1, comments), 1),
        "comment_lines_per_100": round(100 * comment_lines / max(1, code_lines), 1),
    }


def main(folders: list[str]) -> None:
    """Print the figures of the folders as JSON."""
    files = sorted(path for folder in folders or USUAL_FOLDERS for path in Path(folder).rglob("*.py"))
    sys.stdout.write(json.dumps(figures_of(files)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
