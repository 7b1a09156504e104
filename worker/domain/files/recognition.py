"""The recognition of a file by its content: of what kind its bytes are, and which format its table has."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, Final

from worker.domain.files import customer_site, enedis_exports, grdf_exports, other_tools, portal_exports
from worker.domain.files.file_series import FileFault, FileSeries
from worker.domain.files.sources import MAX_ROWS, MEGABYTE, UTF_16, Source, read_lines
from worker.domain.files.tables import DELIMITERS, Table, TableFormat, TableLine, bounded_rows, split_cells, split_lines
from worker.domain.files.unsupported import explain_bytes, explain_flux, explain_name, explain_rows

# The first that a header fits holds.
_TABLES: Final[Sequence[TableFormat]] = (
    *portal_exports.FORMATS,
    *enedis_exports.FORMATS,
    *customer_site.FORMATS,
    *other_tools.FORMATS,
    *grdf_exports.FORMATS,
)
FORMAT_NAMES: Final = sorted({one.name for one in _TABLES} | {portal_exports.R63_JSON, portal_exports.R64_JSON})
_HEAD_ROWS: Final = 60
_LONGEST_START: Final = 4096
_LARGEST_JSON: Final = 16 * MEGABYTE
_COMMAS_A_POINT: Final = 8


def read_document(source: Source, stream: io.BufferedReader) -> Iterator[FileSeries]:
    """Yield the series of one file that is neither an archive nor a workbook. Raises FileRefused."""
    start = stream.peek(_LONGEST_START)[:_LONGEST_START]
    if not start.strip(b"\xef\xbb\xbf \r\n\t"):
        source.fail("it is empty", why=FileFault.EMPTY)
    if reason := explain_bytes(start):
        source.fail(reason, why=FileFault.UNSUPPORTED)
    if b"\0" in start and not start.startswith(UTF_16):
        source.fail(explain_name(source.name), why=FileFault.UNKNOWN)
    if start.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"["):
        yield from _read_json(source, stream)
    else:
        yield from _read_text(source, read_lines(stream, source))


def read_rows(source: Source, rows: Iterator[TableLine]) -> Iterator[FileSeries] | None:
    """Return the series of a sheet; None where none of its first rows is the header of a known format."""
    head = list(islice(rows, _HEAD_ROWS))
    for place, header in enumerate(head):
        if table_format := _find_format(header):
            below = bounded_rows(chain(head[place + 1 :], rows))
            return table_format.read(Table(source, head[:place], header, below))
    if reason := explain_rows(head):
        source.fail(reason, why=FileFault.UNSUPPORTED)
    return None


def _read_json(source: Source, stream: io.BufferedReader) -> Iterator[FileSeries]:
    text = stream.read(_LARGEST_JSON + 1)
    if len(text) > _LARGEST_JSON:
        source.fail(
            f"more than {_LARGEST_JSON // MEGABYTE} MB of JSON: ask for CSV, or one year at a time",
            why=FileFault.TOO_LARGE,
        )
    # Brackets and commas are counted first: an object takes thirty times the memory of its two brackets.
    if max(text.count(b"{"), text.count(b"[")) > MAX_ROWS or text.count(b",") > _COMMAS_A_POINT * MAX_ROWS:
        source.fail(f"more than {MAX_ROWS} values: split the file by year", why=FileFault.TOO_LARGE)
    try:
        payload: Any = json.loads(text)
    except (ValueError, RecursionError):
        source.fail("not JSON, or incomplete: download it again")
    del text
    header = payload.get("header") if isinstance(payload, dict) else None
    code = header.get("codeFlux") if isinstance(header, dict) else None
    if reason := explain_flux(str(code)[:8]):
        source.fail(reason, why=FileFault.UNSUPPORTED)
    if not isinstance(payload, dict) or "mesures" not in payload:
        source.fail(explain_name(source.name), why=FileFault.UNKNOWN)
    yield from portal_exports.read_measures(payload, source)


def _read_text(source: Source, lines: Iterator[tuple[int, str]]) -> Iterator[FileSeries]:
    head = list(islice(lines, _HEAD_ROWS))
    for number, text in head:
        for delimiter in DELIMITERS:
            if _find_format(TableLine(source, number, split_cells(text, delimiter) or [])):
                rows = split_lines(chain(head, lines), source, delimiter)
                yield from read_rows(source, rows) or ()
                return
    for delimiter in DELIMITERS:
        if reason := explain_rows(_rows_of(head, source, delimiter)):
            source.fail(reason, why=FileFault.UNSUPPORTED)
    source.fail(explain_name(source.name), why=FileFault.UNKNOWN)


def _rows_of(head: Iterable[tuple[int, str]], source: Source, delimiter: str) -> Iterator[TableLine]:
    for number, text in head:
        if cells := split_cells(text, delimiter):
            yield TableLine(source, number, cells)


def _find_format(header: TableLine) -> TableFormat | None:
    """Return the format whose columns this row names; None where there is none."""
    names = header.names().keys()
    return next((table_format for table_format in _TABLES if table_format.columns <= names), None)
