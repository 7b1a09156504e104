"""Files that people download, from customer sites, portals and other tools: ``read_file`` reads any of them.

A file is recognised by its content: the type of its bytes, and the format of its table (``FORMAT_NAMES``). A recognised
but unsupported file is refused with advice on what to download instead.
"""

from __future__ import annotations

import gzip
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO, Final, cast
from zipfile import ZipFile

from worker.domain.files import cells, enedis_portal, enedis_site, grdf_site, workbooks
from worker.domain.files.cells import FileFault, FileRefused, FileSeries, Source, TableFormat, TableLine
from worker.domain.files.unsupported import UNKNOWN, UNREAD_FLUXES, explain_bytes, explain_name, explain_rows

# The first of these formats that fits a header is used.
_TABLES: Final[Sequence[TableFormat]] = (*enedis_portal.FORMATS, *enedis_site.FORMATS, *grdf_site.FORMATS)
FORMAT_NAMES: Final = sorted({one.name for one in _TABLES} | {enedis_portal.R63_JSON, enedis_portal.R64_JSON})
_HEAD_ROWS: Final = 60
_LONGEST_START: Final = 4096
_LARGEST_JSON: Final = 16 * cells.MEGABYTE
_COMMAS_A_POINT: Final = 8
_NAMES, _MOST_NAMES = re.compile(rb'"([^"]*+)"\s*+:'), 10_000
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_GZIP: Final = b"\x1f\x8b"
_NO_MEASURES: Final = (FileFault.EMPTY, FileFault.UNKNOWN, FileFault.UNSUPPORTED)
_TEXTS: Final = (".txt", ".md", ".pdf", ".htm", ".html", ".rtf", ".doc", ".docx", ".odt")
_NESTED: Final = "an archive inside an archive is not supported: unpack it"


def read_file(name: str, content: BinaryIO) -> Iterator[FileSeries]:
    """Yield the series of a file, or of all files in a ZIP; ``content`` must be seekable.

    A file has several series if it has several meters. Registers give two series: the registers, and the daily
    energy between their midnights. Time and memory are bounded. Raises FileRefused. If a file in an archive is refused,
    the other files are read first; the error then has the reason for the first refused file.
    """
    source = Source.of(name)
    content.seek(0)
    start = content.read(4)
    content.seek(0)
    if start.startswith(_ZIP):
        yield from _read_archive(source, content)
    elif start.startswith(_GZIP):
        with gzip.GzipFile(fileobj=content, mode="rb") as unpacked:
            yield from _read_inner(source, cast(BinaryIO, unpacked))
    else:
        yield from _not_empty(source, _read_document(source, cells.open_bounded(content, source)))


def _read_archive(source: Source, content: BinaryIO) -> Iterator[FileSeries]:
    with workbooks.open_archive(content, source) as archive:
        names = archive.namelist()
        if workbooks.is_workbook(names):
            yield from _read_workbook(source, archive)
            return
        if reason := workbooks.explain_other_book(names):
            source.fail(reason, why=FileFault.UNSUPPORTED)
        is_empty, has_series, refused, texts = True, False, list[FileRefused](), list[FileRefused]()
        for member in workbooks.members_of(archive):
            is_empty = False
            member_source = source.member(member.filename)
            try:
                with workbooks.open_member(archive, member, member_source) as stream:
                    for series in _read_inner(member_source, stream):
                        has_series = True
                        yield series
            except FileRefused as error:  # The archive's other files are read nevertheless.
                is_text = error.why in _NO_MEASURES and member.filename.lower().endswith(_TEXTS)
                (texts if is_text else refused).append(error)
        if is_empty:
            source.fail("an empty archive", why=FileFault.EMPTY)
        refused += [] if has_series else texts  # In an archive with measures, a text like ``readme.txt`` is no fault.
        if refused:
            others = f" (and {len(refused) - 1} more of the archive's files are refused)" if len(refused) > 1 else ""
            raise FileRefused(f"{refused[0]}{others}", refused[0].why)


def _read_inner(source: Source, content: BinaryIO) -> Iterator[FileSeries]:
    """Yield the series of a file in an archive: a document or a workbook. A further archive is refused."""
    stream = cells.open_bounded(content, source)
    start = stream.peek(4)
    if start.startswith(_GZIP):
        source.fail(_NESTED, why=FileFault.UNSUPPORTED)
    if not start.startswith(_ZIP):
        yield from _not_empty(source, _read_document(source, stream))
        return
    with workbooks.open_archive(io.BytesIO(stream.read()), source) as archive:
        names = archive.namelist()
        if not workbooks.is_workbook(names):
            source.fail(workbooks.explain_other_book(names) or _NESTED, why=FileFault.UNSUPPORTED)
        yield from _read_workbook(source, archive)


def _read_workbook(source: Source, archive: ZipFile) -> Iterator[FileSeries]:
    """Yield the series of the sheets in a known format; other sheets, such as a cover, are skipped."""
    is_known = False
    for sheet_source, rows in workbooks.read_sheets(archive, source):
        if (found := _read_rows(sheet_source, rows)) is not None:
            is_known = True
            yield from _not_empty(sheet_source, found)
    if not is_known:
        source.fail(UNKNOWN, why=FileFault.UNKNOWN)


def _not_empty(source: Source, found: Iterator[FileSeries]) -> Iterator[FileSeries]:
    """Yield the series unchanged. Raises FileRefused if there are none."""
    is_empty = True
    for series in found:
        is_empty = False
        yield series
    if is_empty:
        source.fail("it has no load curve, no index and no daily energy")


def _read_document(source: Source, stream: io.BufferedReader) -> Iterator[FileSeries]:
    """Yield the series of one file that is neither an archive nor a workbook. Raises FileRefused."""
    start = stream.peek(_LONGEST_START)[:_LONGEST_START]
    if not start.strip(b"\xef\xbb\xbf \r\n\t"):
        source.fail("it is empty", why=FileFault.EMPTY)
    if reason := explain_bytes(start):
        source.fail(reason, why=FileFault.UNSUPPORTED)
    if b"\0" in start and not cells.find_utf_16(start):
        source.fail(explain_name(source.name), why=FileFault.UNKNOWN)
    if start.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] in (b"{", b"["):
        yield from _read_json(source, stream)
    else:
        yield from _read_text(source, cells.read_lines(stream, source))


def _read_json(source: Source, stream: io.BufferedReader) -> Iterator[FileSeries]:
    text = stream.read(_LARGEST_JSON + 1)
    if len(text) > _LARGEST_JSON:
        source.refuse_size(
            f"more than {_LARGEST_JSON // cells.MEGABYTE} MB of JSON: ask for CSV, or one year at a time"
        )
    # Values and names are counted before parsing, because parsing a small text may fill the memory: an object takes
    # thirty times the memory of its two brackets, and each name 160 bytes.
    if max(text.count(b"{"), text.count(b"[")) > cells.MAX_ROWS or text.count(b",") > _COMMAS_A_POINT * cells.MAX_ROWS:
        source.refuse_size(f"more than {cells.MAX_ROWS} values: split the file by year")
    if len({hash(name[1]) % 2**16 for name in _NAMES.finditer(text)}) > _MOST_NAMES:
        source.fail(explain_name(source.name), why=FileFault.UNKNOWN)
    try:
        payload: Any = json.loads(text)
    except (ValueError, RecursionError):
        source.fail("not JSON, or incomplete: download it again")
    del text
    header = payload.get("header") if isinstance(payload, dict) else None
    code = header.get("codeFlux") if isinstance(header, dict) else None
    if reason := UNREAD_FLUXES.get(str(code)[:8]):
        source.fail(reason, why=FileFault.UNSUPPORTED)
    if not isinstance(payload, dict) or "mesures" not in payload:
        source.fail(explain_name(source.name), why=FileFault.UNKNOWN)
    yield from enedis_portal.read_measures(payload, source)


def _read_text(source: Source, lines: Iterator[tuple[int, str]]) -> Iterator[FileSeries]:
    head = list(islice(lines, _HEAD_ROWS))
    for number, text in head:
        for delimiter in cells.DELIMITERS:
            if _find_format(TableLine(source, number, cells.split_cells(text, delimiter) or [])):
                rows = cells.split_lines(chain(head, lines), source, delimiter)
                yield from _read_rows(source, rows) or ()
                return
    for delimiter in cells.DELIMITERS:
        if reason := explain_rows(_rows_of(head, source, delimiter)):
            source.fail(reason, why=FileFault.UNSUPPORTED)
    source.fail(explain_name(source.name), why=FileFault.UNKNOWN)


def _rows_of(head: Iterable[tuple[int, str]], source: Source, delimiter: str) -> Iterator[TableLine]:
    for number, text in head:
        if fields := cells.split_cells(text, delimiter):
            yield TableLine(source, number, fields)


def _read_rows(source: Source, rows: Iterator[TableLine]) -> Iterator[FileSeries] | None:
    """Return the series of a sheet; None if none of its first rows is the header of a known format."""
    head = list(islice(rows, _HEAD_ROWS))
    for place, header in enumerate(head):
        if table_format := _find_format(header):
            below = cells.bounded_rows(chain(head[place + 1 :], rows))
            return table_format.read(cells.Table(source, head[:place], header, below))
    if reason := explain_rows(head):
        source.fail(reason, why=FileFault.UNSUPPORTED)
    return None


def _find_format(header: TableLine) -> TableFormat | None:
    """Return the first format whose columns are all named in this row; None if there is none."""
    names = header.names().keys()
    return next((table_format for table_format in _TABLES if table_format.columns <= names), None)
