"""The reading of files of any known format, which is recognised by its content."""

from __future__ import annotations

import gzip
import io
from collections.abc import Iterator
from typing import BinaryIO, Final, cast
from zipfile import ZipFile

from worker.domain.files.archives import members_of, open_archive, open_member
from worker.domain.files.file_series import FileFault, FileRefused, FileSeries
from worker.domain.files.recognition import read_document, read_rows
from worker.domain.files.sources import Source, open_bounded
from worker.domain.files.unsupported import UNKNOWN
from worker.domain.files.workbooks import explain_other_book, is_workbook, read_sheets

_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_GZIP: Final = b"\x1f\x8b"
_NESTED: Final = "an archive inside an archive is not supported: unpack it"


def read_file(name: str, content: BinaryIO) -> Iterator[FileSeries]:
    """Yield the series of a file, or of all files in a ZIP; ``content`` can be sought in.

    A file has several series where it has several meters, or registers and the daily energy between them. Time and
    memory are bounded. Raises FileRefused; of an archive after its other files, with the first one that is refused.
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
        yield from _not_empty(source, read_document(source, open_bounded(content, source)))


def _read_archive(source: Source, content: BinaryIO) -> Iterator[FileSeries]:
    with open_archive(content, source) as archive:
        names = archive.namelist()
        if is_workbook(names):
            yield from _read_workbook(source, archive)
            return
        if reason := explain_other_book(names):
            source.fail(reason, why=FileFault.UNSUPPORTED)
        is_empty, refused = True, list[FileRefused]()
        for member in members_of(archive):
            is_empty = False
            member_source = source.member(member.filename)
            try:
                with open_member(archive, member, member_source) as stream:
                    yield from _read_inner(member_source, stream)
            except FileRefused as error:  # The other files of the archive are read all the same.
                refused.append(error)
        if is_empty:
            source.fail("an empty archive", why=FileFault.EMPTY)
        if refused:
            others = f" (and {len(refused) - 1} more of the archive's files are refused)" if len(refused) > 1 else ""
            raise FileRefused(f"{refused[0]}{others}", refused[0].why)


def _read_inner(source: Source, content: BinaryIO) -> Iterator[FileSeries]:
    """Yield the series of a file from an archive: a document or a workbook, no further archive."""
    stream = open_bounded(content, source)
    start = stream.peek(4)
    if start.startswith(_GZIP):
        source.fail(_NESTED, why=FileFault.UNSUPPORTED)
    if not start.startswith(_ZIP):
        yield from _not_empty(source, read_document(source, stream))
        return
    with open_archive(io.BytesIO(stream.read()), source) as archive:
        names = archive.namelist()
        if not is_workbook(names):
            source.fail(explain_other_book(names) or _NESTED, why=FileFault.UNSUPPORTED)
        yield from _read_workbook(source, archive)


def _read_workbook(source: Source, archive: ZipFile) -> Iterator[FileSeries]:
    """Yield the series of the sheets that have any; others, such as a cover, are passed over."""
    is_known = False
    for sheet_source, rows in read_sheets(archive, source):
        if (found := read_rows(sheet_source, rows)) is not None:
            is_known = True
            yield from _not_empty(sheet_source, found)
    if not is_known:
        source.fail(UNKNOWN, why=FileFault.UNKNOWN)


def _not_empty(source: Source, found: Iterator[FileSeries]) -> Iterator[FileSeries]:
    """Yield the series. Raises FileRefused where there are none."""
    is_empty = True
    for series in found:
        is_empty = False
        yield series
    if is_empty:
        source.fail("it has no load curve, no index and no daily energy")
