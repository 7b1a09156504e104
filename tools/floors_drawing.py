"""Draw the floors of the code as SVG: rows from the import contract in setup.cfg, words from the packages' docstrings.

python -m tools.floors_drawing > docs/explanation/floors.svg
"""

from __future__ import annotations

import ast
import configparser
import sys
import textwrap
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_CONTRACT: Final = "importlinter:contract:floors"
_BESIDE: Final = "importlinter:contract:product"  # Its forbidden modules stand beside the product.
_WIDTH: Final = 900
_ROW_PX: Final = 74
_GAP_PX: Final = 10
_LETTERS_PER_PX: Final = 1 / 6.2
_LINES: Final = 3


def floors() -> list[list[str]]:
    """Return the rows of the contract, the highest floor first; each is a list of module names."""
    rows = _read(_CONTRACT)["layers"].split("\n")[1:]
    return [[name.strip() for name in row.replace(":", "|").split("|")] for row in rows]


def beside() -> list[str]:
    """Return the packages that stand beside the product, which doesn't import them."""
    return _read(_BESIDE)["forbidden_modules"].split()


def _read(contract: str) -> configparser.SectionProxy:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config[contract]


def summary_of(module: str) -> str:
    """Return the first sentence of the docstring of a module or package."""
    path = ROOT / module.replace(".", "/")
    file = path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"
    text = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].replace("`", "").split())


def to_svg() -> str:
    return "\n".join(_draw()) + "\n"


def _draw() -> Iterator[str]:
    rows = [beside(), *floors()]
    height = len(rows) * (_ROW_PX + _GAP_PX) + 2 * _GAP_PX
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        'role="img" font-family="system-ui, sans-serif">'
    )
    yield "<title>The floors of the code: imports go down; beside the product, dashed: its simulator and drill</title>"
    yield f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>'
    for number, names in enumerate(rows):
        top = _GAP_PX + number * (_ROW_PX + _GAP_PX)
        width = (_WIDTH - _GAP_PX * (len(names) + 1)) / len(names)
        for place, name in enumerate(names):
            dashes = ' stroke-dasharray="6 4"' if number == 0 else ""
            yield from _box(name, _GAP_PX + place * (width + _GAP_PX), top, width, dashes)
    yield "</svg>"


def _box(name: str, left: float, top: float, width: float, dashes: str) -> Iterator[str]:
    yield (
        f'<rect x="{left:.0f}" y="{top}" width="{width:.0f}" height="{_ROW_PX}" rx="4" fill="#eef3f8" '
        f'stroke="#5b7b99"{dashes}/>'
    )
    yield (
        f'<text x="{left + 8:.0f}" y="{top + 19}" font-size="14" font-weight="600" fill="#12314d">{escape(name)}</text>'
    )
    letters = int((width - 16) * _LETTERS_PER_PX)
    lines = textwrap.wrap(summary_of(name), letters, max_lines=_LINES, placeholder=" …")
    for number, line in enumerate(lines):
        baseline = top + 36 + 14 * number
        yield f'<text x="{left + 8:.0f}" y="{baseline}" font-size="11" fill="#333333">{escape(line)}</text>'


if __name__ == "__main__":
    sys.stdout.write(to_svg())
