"""The recognition of a file by its content: of what kind its bytes are, and which format its table has."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO, Final

from worker.domain.files import enedis_exports, portal_exports
from worker.domain.files.file_series import FileSeries
from worker.domain.files.sources import MEGABYTE, Source, open_bounded, read_lines
from worker.domain.files.tables import (
    DELIMITERS,
    Table,
    TableFormat,
    TableLine,
    bounded_rows,
    split_cells,
    split_lines,
)

FORMATS: Final[Sequence[TableFormat]] = (*portal_exports.FORMATS, *enedis_exports.FORMATS)
_HEAD_ROWS: Final = 60
_LARGEST_JSON: Final = 16 * MEGABYTE


def read_document(source: Source, content: BinaryIO) -> Iterator[FileSeries]:
    """Yield the series of one file that is no archive. Raises FileRefused."""
    stream = open_bounded(content, source)
    start = stream.peek(64)
    if not start:
        source.fail("it is empty")
    if start.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"["):
        yield from _read_json(source, content)
    else:
        yield from _read_text(source, read_lines(stream, source))


def _read_json(source: Source, content: BinaryIO) -> Iterator[FileSeries]:
    content.seek(0)
    text = open_bounded(content, source, _LARGEST_JSON).read()
    try:
        payload: Any = json.loads(text)
    except (ValueError, RecursionError):
        source.fail("it is no JSON, or cut: download it again")
    if not isinstance(payload, dict) or "mesures" not in payload:
        source.fail("no known format")
    yield from portal_exports.read_measures(payload, source)


def _read_text(source: Source, lines: Iterator[tuple[int, str]]) -> Iterator[FileSeries]:
    head = list(islice(lines, _HEAD_ROWS))
    for place, (number, text) in enumerate(head):
        for delimiter in DELIMITERS:
            header = TableLine(source, number, split_cells(text, delimiter) or [])
            if table_format := find_format(header):
                above = list(split_lines(head[:place], source, delimiter))
                rest = split_lines(chain(head[place + 1 :], lines), source, delimiter)
                yield from table_format.read(Table(source, above, header, bounded_rows(rest)))
                return
    source.fail("no known format")


def find_format(header: TableLine) -> TableFormat | None:
    """Return the format whose columns this row names; None where there is none."""
    names = header.names().keys()
    return next((table_format for table_format in FORMATS if table_format.columns <= names), None)
