"""ZIP archives and workbooks (XLSX), within bounds: the members of an archive, and the sheets of a workbook as rows.

The sizes that an archive declares are checked before decompression, and decompressed bytes are counted. The members of
an archive are read one at a time; a ZIP in a ZIP is refused.

A workbook is a ZIP of XML, read by python-calamine. First each part is decompressed within bounds and checked. A part
with a document type is refused, so no entities are expanded. A sheet is refused if its last row or column is so far out
that the cells up to there would fill the memory. A workbook is refused if its shared texts, counted once for each cell
that has them, are too long. Then python-calamine gets a new archive with only the checked parts. Formulas aren't
calculated: a cell has the value that was stored with the formula.
"""

from __future__ import annotations

import io
import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Final, cast
from xml.parsers import expat  # Safe here, because documents with a document type are refused.
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook

from worker.domain.files.cells import DAMAGE, MAX_BYTES, MEGABYTE, FileFault, Source, TableLine, open_bounded

MAX_MEMBERS: Final = 500
MAX_UNPACKED: Final = 256 * MEGABYTE
_LARGEST_RATIO: Final = 200  # Real curves compress to a twentieth.
_SMALL: Final = MEGABYTE  # Smaller members may have any compression ratio.
_ENCRYPTED: Final = 0x1
_END: Final = b"PK\x05\x06"
_END_64: Final = b"PK\x06\x07"
_LONGEST_END: Final = 22 + 65_535
_LARGEST_DIRECTORY: Final = MEGABYTE
_JUNK: Final = ("__MACOSX/", "thumbs.db", "desktop.ini")
_LARGEST: Final = 32 * MEGABYTE  # For all XML of a workbook; a year of half-hours has 2 MB.
_MOST_ROWS: Final = 100_000
_MOST_COLUMNS: Final = 200
_MOST_CELLS: Final = 1_000_000
_LONGEST_TEXTS: Final = 32 * MEGABYTE
_MOST_SHEETS: Final = 20
_PARTS: Final = (".xml", ".rels")
_REFERENCE: Final = re.compile(r"([A-Z]{1,3})([0-9]{1,7})", re.ASCII)
_OTHER_BOOKS: Final = ("xl/workbook.bin", "content.xml")


def open_archive(content: BinaryIO, source: Source) -> ZipFile:
    """Open an archive. Raises FileRefused if it is damaged, or if it or a member is too large or unsupported."""
    _check_directory(content, source)
    content.seek(0)
    try:
        archive = ZipFile(content)
    except DAMAGE:
        source.fail("a damaged or incomplete archive: download it again")
    members = archive.infolist()
    if len(members) > MAX_MEMBERS:
        source.refuse_size(f"more than {MAX_MEMBERS} files in the archive; split it")
    if sum(member.file_size for member in members) > MAX_UNPACKED:
        source.refuse_size(f"larger than {MAX_UNPACKED // MEGABYTE} MB unpacked; split it")
    for place, member in enumerate(members, start=1):
        _check_member(member, place, source)
    return archive


def members_of(archive: ZipFile) -> Iterator[ZipInfo]:
    """Yield the files of an archive in its order. Folders, hidden files and those of file managers are left out."""
    for member in archive.infolist():
        name = member.filename.rsplit("/", 1)[-1].lower()
        if member.is_dir() or name.startswith(".") or member.filename.startswith(_JUNK) or name in _JUNK:
            continue
        yield member


def open_member(archive: ZipFile, member: ZipInfo, source: Source) -> BinaryIO:
    """Return the content of a member. Raises FileRefused if the archive is damaged."""
    try:
        return cast(BinaryIO, archive.open(member))
    except DAMAGE:
        source.fail("a damaged archive: download it again")


def _check_directory(content: BinaryIO, source: Source) -> None:
    """Raise FileRefused if the archive, or the list of its members, is too large to be read."""
    size = content.seek(0, os.SEEK_END)
    if size > MAX_BYTES:
        source.refuse_size(f"larger than {MAX_BYTES // MEGABYTE} MB; split it")
    content.seek(max(0, size - _LONGEST_END))
    tail = content.read(_LONGEST_END)
    end = tail.rfind(_END)
    if end < 0 or len(tail) < end + 22:
        source.fail("a damaged or incomplete archive: download it again")
    (length,) = struct.unpack("<L", tail[end + 12 : end + 16])
    if length > _LARGEST_DIRECTORY or _END_64 in tail:
        source.refuse_size(f"more than {MAX_MEMBERS} files in the archive, or larger than any export; split it")


def _check_member(member: ZipInfo, place: int, source: Source) -> None:
    if member.flag_bits & _ENCRYPTED:
        source.fail(
            "an encrypted file is not supported: unpack it with its password first", place, FileFault.UNSUPPORTED
        )
    if member.compress_type not in (ZIP_STORED, ZIP_DEFLATED):
        source.fail(
            "its compression is not supported: make the ZIP again with another program", place, FileFault.UNSUPPORTED
        )
    if member.file_size > MAX_BYTES:
        source.refuse_size(
            f"larger than {MAX_BYTES // MEGABYTE} MB unpacked, which is more than is read at once", place
        )
    if member.file_size > max(_SMALL, _LARGEST_RATIO * member.compress_size):
        source.refuse_size("it unpacks to far more than a file of measures can", place)


def is_workbook(names: list[str]) -> bool:
    """Return whether an archive with these members is a supported workbook."""
    lower = {name.lower() for name in names}
    return "xl/workbook.xml" in lower and not lower.intersection(_OTHER_BOOKS)


def explain_other_book(names: list[str]) -> str | None:
    """Return why an archive with these members is an unsupported document; None if it isn't such a document."""
    lower = {name.lower() for name in names}
    if any(name.endswith(".iwa") or name == "index.zip" for name in lower):
        return "a Numbers document is not supported: export it as .xlsx or .csv"
    if "content.xml" in lower and "mimetype" in lower:
        return "an OpenDocument file is not supported: save it as .xlsx or .csv"
    if "xl/workbook.bin" in lower:
        return "a binary workbook (.xlsb) is not supported: save it as .xlsx or .csv"
    if "[content_types].xml" in lower and "xl/workbook.xml" not in lower:
        return "it is a document, not a workbook"
    return None


def read_sheets(archive: ZipFile, source: Source) -> Iterator[tuple[Source, Iterator[TableLine]]]:
    """Yield each sheet of a workbook with its rows, in the workbook's order. Raises FileRefused if a check fails."""
    checked = _copy_checked(archive, source)
    with _refuse_damage(source, "a damaged or protected workbook: save it again as .xlsx"):
        book = CalamineWorkbook.from_filelike(checked)
    with book:
        names = book.sheet_names
        if len(names) > _MOST_SHEETS:
            source.refuse_size(f"a workbook with more than {_MOST_SHEETS} sheets")
        for place, name in enumerate(names):
            noun = "row" if len(names) == 1 else f"sheet {place + 1}, row"
            sheet_source = Source(source.name, source.file, noun, name)
            with _refuse_damage(source, f"sheet {place + 1} of the workbook is damaged"):
                sheet = book.get_sheet_by_index(place)
            yield sheet_source, _read_rows(sheet, sheet_source)


def _copy_checked(archive: ZipFile, source: Source) -> io.BytesIO:
    """Return a new archive with the checked parts of a workbook. Raises FileRefused if a check fails."""
    copy = io.BytesIO()
    checker, seen = _Checker(source), set[str]()
    parts = [member for member in archive.infolist() if member.filename.lower().endswith(_PARTS)]
    if sum(member.file_size for member in parts) > _LARGEST:
        source.refuse_size(f"a workbook larger than {_LARGEST // MEGABYTE} MB unpacked: split it by year")
    parts.sort(key=lambda member: not member.filename.lower().endswith("sharedstrings.xml"))
    with ZipFile(copy, "w", ZIP_STORED) as checked:
        for member in parts:
            if member.filename.lower() in seen:
                source.fail("a damaged workbook: it has a part twice")
            seen.add(member.filename.lower())
            with open_member(archive, member, source) as stream:
                xml = open_bounded(stream, source).read()
            checker.check(xml)
            checked.writestr(member.filename, xml)
    copy.seek(0)
    return copy


@dataclass
class _Checker:
    """Checks the parts of a workbook one after the other; the part with the shared texts must be the first."""

    source: Source
    shared: list[int] = field(default_factory=list)
    texts: int = 0
    cells: int = 0
    row: int = 0
    column: int = 0
    widest: int = 0
    lowest: int = 0
    text_of: list[str] = field(default_factory=list)
    is_shared_cell: bool = False
    is_value: bool = False

    def check(self, xml: bytes) -> None:
        """Check one part. Raises FileRefused if the part breaks a limit or can't be read."""
        parser = expat.ParserCreate("utf-8")  # Like python-calamine, this ignores declared encodings.
        parser.StartDoctypeDeclHandler = self._refuse_document_type
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._add_text
        self.row = self.column = self.lowest = self.widest = 0
        try:
            parser.Parse(xml, True)
        except (expat.ExpatError, LookupError, ValueError):
            self.source.fail("a damaged or incomplete workbook: download it again")

    def _refuse_document_type(self, *_: Any) -> None:
        self.source.fail("a workbook with definitions that exports never have")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if name == "row":
            self.row = self._to_number(attributes.get("r"), self.row + 1)
            self.column = 0
            self._check_place()
        elif name == "c":
            self.cells += 1
            self.is_shared_cell = attributes.get("t") == "s"
            place = _REFERENCE.fullmatch(attributes["r"].strip()) if "r" in attributes else None
            if "r" in attributes and place is None:
                self.source.fail("a damaged workbook: a cell has no place")
            self.column = _column_of(place[1]) if place else self.column + 1
            self.row = int(place[2]) if place else self.row
            self._check_place()
        elif name == "si":
            if self.cells:
                self.source.fail("a damaged workbook: its shared texts are in the wrong place")
            self.shared.append(0)
        elif name in ("v", "t"):
            self.is_value, self.text_of = True, []

    def _end(self, name: str) -> None:
        name = name.rpartition(":")[2]
        if name not in ("v", "t"):
            return
        text, self.is_value = "".join(self.text_of), False
        if name == "t" and self.shared and not self.cells:
            self.shared[-1] += len(text)
        elif name == "v" and self.is_shared_cell:
            with suppress(ValueError, IndexError):
                self.texts += self.shared[int(text)]
            if self.texts > _LONGEST_TEXTS:
                self.source.refuse_size("a workbook with too much text for an export")

    def _add_text(self, text: str) -> None:
        if self.is_value:
            self.text_of.append(text)

    def _check_place(self) -> None:
        self.widest, self.lowest = max(self.widest, self.column), max(self.lowest, self.row)
        if (
            self.lowest > _MOST_ROWS
            or self.widest > _MOST_COLUMNS
            or self.lowest * self.widest > _MOST_CELLS
            or self.cells > _MOST_CELLS
        ):
            self.source.refuse_size(f"a sheet with more than {_MOST_ROWS} rows or {_MOST_COLUMNS} columns")

    def _to_number(self, text: str | None, otherwise: int) -> int:
        if text is None:
            return otherwise
        if not (text.isascii() and text.isdigit() and len(text) <= 9):
            self.source.fail("a damaged workbook: a row has no number")
        return int(text)


def _column_of(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - ord("A") + 1
    return number


@contextmanager
def _refuse_damage(source: Source, reason: str) -> Iterator[None]:
    """Turn the errors of the reader of workbooks, including panics of its Rust code, into FileRefused."""
    try:
        yield
    except BaseException as error:
        # A panic is recognised by name: its class can't be imported, and isn't a subclass of Exception.
        if not isinstance(error, (CalamineError, *DAMAGE)) and type(error).__name__ != "PanicException":
            raise
        source.fail(reason)


def _read_rows(sheet: CalamineSheet, source: Source) -> Iterator[TableLine]:
    """Yield each row that has content, with its number in the sheet; texts have no surrounding spaces."""
    for number, cells in enumerate(sheet.iter_rows(), start=1):
        stripped = [cell.strip() if isinstance(cell, str) else cell for cell in cells]
        if any(cell not in ("", None) for cell in stripped):
            yield TableLine(source, number, stripped)
