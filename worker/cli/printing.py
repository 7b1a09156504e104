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
from typing import Any, Final

import click

from worker.domain.windows import PARIS
from worker.stores.registry.outputs import OutputState

_SAMPLE: Final = 200  # This many rows are examined before the first row is printed.
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)")
Row = Mapping[str, Any]
Cells = list[str]


def local_text(moment: datetime | None) -> str:
    """Return the minute in Europe/Paris, like 2024-07-25 08:30; a dash for None."""
    return moment.astimezone(PARIS).strftime("%Y-%m-%d %H:%M") if moment else "-"


def print_table(rows: Iterable[Row], columns: Mapping[str, str] | None = None) -> None:
    """Print a table; a dash stands for no value, and moments are shown in Europe/Paris.

    ``columns``: the title of each column and the name of its value; None shows all values under their own names. A
    table fits the width of the terminal (80 columns without a terminal), but texts are broken only at blanks. If the
    last cell has a word that is too long for its column, the cell is printed below its row.
    """
    rows = iter(rows)
    first = next(rows, None)
    if first is None:
        return
    columns = columns or {name: name for name in first}
    texts = ([_to_text(row[name]) for name in columns.values()] for row in chain([first], rows))
    sample = list(islice(texts, _SAMPLE))
    room = shutil.get_terminal_size().columns
    widths, gap = _fit([*columns], sample, room)
    for cells in chain([[*columns]], sample, texts):
        for line in _lines(cells, widths, gap, room):
            click.echo(line)


def _fit(titles: Cells, sample: Sequence[Cells], room: int) -> tuple[list[int], str]:
    """Return the widths of the columns and the gap between them. With enough room, no text of the sample is broken."""
    columns = [*zip(*sample, strict=True)]
    least = [max(map(_longest_word, (title, *texts))) for title, texts in zip(titles, columns, strict=True)]
    wanted = [max(map(len, (title, *texts))) for title, texts in zip(titles, columns, strict=True)]
    gap = "  " if sum(least) + 2 * (len(least) - 1) <= room else " "
    room -= len(gap) * (len(least) - 1)
    # The last column may be narrower than its longest word, because ``_lines`` prints a text that doesn't fit there
    # below the row.
    least[-1] = max(_longest_word(titles[-1]), min(least[-1], room - sum(least[:-1])))
    while sum(wanted) > room and wanted != least:
        # The column with the most room to spare is narrowed: a column of sentences rather than a column of dates.
        widest = max(range(len(wanted)), key=lambda number: wanted[number] - least[number])
        wanted[widest] -= 1
    return wanted, gap


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
    return max(map(len, text.split()), default=0)


def _to_text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list):
        return " ".join(map(str, value))
    text = str(value)
    return local_text(datetime.fromisoformat(text)) if _MOMENT.fullmatch(text) else text


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
