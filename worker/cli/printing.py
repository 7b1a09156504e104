"""Tables, lines and QR codes for people. A table's first rows set its widths; later rows are printed as they come."""

from __future__ import annotations

import io
import os
import re
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain, islice, zip_longest
from textwrap import wrap
from typing import Any, Final, NamedTuple

import click

from worker.domain.windows import PARIS
from worker.stores.registry.outputs import OutputState

_SAMPLE: Final = 200  # This many rows are examined before the first row is printed.
_FREE: Final = 10  # The least width of a column whose texts may be shortened.
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)")
_MINUTE: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d)")
Row = Mapping[str, Any]
Cells = list[str]


def local_text(moment: datetime | None) -> str:
    """Return the minute in Europe/Paris, like 2024-07-25 08:30; a dash for None."""
    return moment.astimezone(PARIS).strftime("%Y-%m-%d %H:%M") if moment else "-"


def print_table(rows: Iterable[Row], columns: Mapping[str, str] | None = None) -> None:
    """Print a table; a dash stands for no value, and moments are shown in Europe/Paris.

    ``columns``: the title of each column and the name of its value; None shows all values under their own names. A
    table fits the width of the terminal (80 columns without a terminal). Without enough room for one line a row,
    columns whose name ends with ``?`` are left out, the last one first; texts whose name ends with ``…`` are shortened,
    other texts are broken at blanks. If the last cell has a word that is too long for its column, the cell is printed
    below its row.
    """
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    start = [first, *islice(rows, _SAMPLE - 1)]
    shown = [_measure(title, name, start) for title, name in (columns or {name: name for name in first}).items()]
    room = shutil.get_terminal_size().columns
    while not _fits(shown, room) and any(column.is_optional for column in shown):
        del shown[max(number for number, column in enumerate(shown) if column.is_optional)]
    widths, gap = _fit(shown, room)
    titles = {column.name: column.title for column in shown}
    for row in chain([titles], start, rows):
        for line in _lines(_to_cells(row, shown, widths), widths, gap, room):
            click.echo(line.replace("\xa0", " "))


class _Column(NamedTuple):
    """A column, and the width that breaks no word, the width for one line a row, and the width that shortens nothing.

    ``is_free``: its texts were written by people, like names, so they may be shortened.
    """

    title: str
    name: str
    is_optional: bool
    is_free: bool
    least: int
    whole: int
    wide: int


def _measure(title: str, marked: str, rows: Sequence[Row]) -> _Column:
    name, is_free = marked.rstrip("?…"), "…" in marked
    texts = [_to_text(row[name]) for row in rows]
    word = max(map(_longest_word, (title, *texts)))
    whole, wide = max(_longest_word(title), *map(len, texts)), max(map(len, (title, *texts)))
    if is_free:
        word = whole = max(_longest_word(title), min(wide, _FREE))
    return _Column(title, name, "?" in marked, is_free, word, whole, wide)


def _fits(columns: Sequence[_Column], room: int) -> bool:
    """Return whether each row fits into a line."""
    return sum(column.whole for column in columns) + len(columns) - 1 <= room


def _fit(columns: Sequence[_Column], room: int) -> tuple[list[int], str]:
    """Return the widths of the columns and the gap between them. With enough room, no text of the rows is broken."""
    least = [column.whole if _fits(columns, room) else column.least for column in columns]
    wanted = [column.wide for column in columns]
    gap = "  " if sum(least) + 2 * (len(least) - 1) <= room else " "
    room -= len(gap) * (len(least) - 1)
    # The last column may be narrower than its longest word, because ``_lines`` prints a text that doesn't fit there
    # below the row.
    least[-1] = max(_longest_word(columns[-1].title), min(least[-1], room - sum(least[:-1])))
    while sum(wanted) > room and wanted != least:
        # The column with the most room to spare is narrowed: a column of sentences rather than a column of dates.
        widest = max(range(len(wanted)), key=lambda number: wanted[number] - least[number])
        wanted[widest] -= 1
    return wanted, gap


def _to_cells(row: Row, columns: Sequence[_Column], widths: Sequence[int]) -> Cells:
    texts = [_to_text(row[column.name]) for column in columns]
    return [
        f"{text[: width - 1]}…" if column.is_free and len(text) > width else text
        for text, column, width in zip(texts, columns, widths, strict=True)
    ]


def _lines(cells: Cells, widths: list[int], gap: str, room: int) -> Iterator[str]:
    """Yield the lines of a row; a cell that has fewer lines than another is blank in the last lines."""
    last, width = cells[-1], room - sum(widths[:-1]) - len(gap) * (len(widths) - 1)
    is_below = len(widths) > 1 and _longest_word(last) > max(width, widths[-1])
    broken = [_break(text, width) for text, width in zip([*cells[:-1], "" if is_below else last], widths, strict=True)]
    for line in zip_longest(*broken, fillvalue=""):
        yield gap.join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
    if is_below:
        yield from (f"  {line}" for line in _break(last, room - 2))


def _break(text: str, width: int) -> Cells:
    return wrap(text, width, break_long_words=False, break_on_hyphens=False) if len(text) > width else [text]


def _longest_word(text: str) -> int:
    return max(map(len, text.split(" ")))


def _to_text(value: Any) -> str:
    """Return the text of a cell. The blank in a moment is one at which texts are not broken."""
    if value is None:
        return "-"
    text = " ".join(" ".join(map(str, value if isinstance(value, list | tuple) else [value])).split())
    text = local_text(datetime.fromisoformat(text)) if _MOMENT.fullmatch(text) else text
    return _MINUTE.sub("\\1\xa0\\2", text)


def describe_output(output: OutputState) -> str:
    """Return the state of an output, like ``all sent, last sent …`` or ``waiting since …``."""
    last = f"last sent {local_text(output.last_sent_at)}" if output.last_sent_at else "nothing sent yet"
    if not output.waiting:
        return f"all sent, {last}"
    waiting = f"waiting since {local_text(output.waiting_since)}, {last}" if output.waiting_since else last
    if output.failing_since is None:
        return waiting
    next_try = f"; next try {local_text(output.next_try_at)}" if output.next_try_at else ""
    return f"{waiting}; failing since {local_text(output.failing_since)}: {output.error}{next_try}"


def print_qr_code(address: str) -> None:
    """Print a QR code of an address if standard output is a terminal that can show it.

    It is white on black, whatever the colours of the terminal.
    """
    if not sys.stdout.isatty() or sys.stdout.encoding.lower() != "utf-8" or os.environ.get("TERM") == "dumb":
        return
    import segno  # Imported late, because it takes 40 ms.

    code, drawing = segno.make_qr(address), io.StringIO()
    if code.symbol_size()[0] <= shutil.get_terminal_size().columns:
        code.terminal(drawing, compact=True)
        for line in drawing.getvalue().splitlines():
            click.echo(f"\033[38;5;231;48;5;16m{line}\033[0m")
