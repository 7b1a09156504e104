"""Shared code of all file readers: bounded reading, tables, names of files, and the series of a file.

A cell is a text such as ``1 234,5``, ``31/01/2025 00:30:00`` or ``NA``, or a workbook's number, date or time. A mark of
a missing value (empty, NA, null) is read as None, never as zero.

The name of a file may tell the meter's number, the time of the export or the direction (consumption or production) if
the file's content doesn't. People rename files, so the content takes precedence, and the name never decides about the
format.

    Enedis_Conso_Heure_20221024-20240725_99000000000011.csv          the meter's number
    99000000000011_Export_energie_Consommation_01012025-07012025.xlsx
    ENEDIS_R63_P_CdC_M0000001_00001_20250313101500.csv               the time of the export
    historique_prod_99000000000011.csv                               the direction
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import re
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any, BinaryIO, Final, NoReturn
from zipfile import BadZipFile

from worker.domain.parsing.values import to_plain
from worker.domain.series import Series
from worker.domain.windows import PARIS, IntervalReading
from worker.errors import DataError

MAX_BYTES: Final = 64 * 1024 * 1024  # Per uncompressed file; enough for two years of half-hours of a dozen meters.
MAX_ROWS: Final = 200_000  # Per file; almost four years of ten-minute steps.
MEGABYTE: Final = 1024 * 1024
# The exceptions that the readers of compressed files raise for damaged files.
DAMAGE: Final = (OSError, EOFError, RuntimeError, ValueError, zlib.error, struct.error, BadZipFile)
DELIMITERS: Final = (";", ",", "\t")
METER_NUMBER: Final = re.compile(r"(?<![0-9])[0-9]{14}(?![0-9])", re.ASCII)
HIDDEN_DIGITS: Final = "0" * 10  # In files that we write, the first ten digits of the meter's number.
_START: Final = 64
_MOST_LINES: Final = 4 * MAX_ROWS  # Per file, blank lines included.
_MOST_CELLS: Final = 500  # Per line; footers of index files have a hundred.
_LONGEST_LINE: Final = 32 * 1024  # Footers of index files have three thousand characters.
_LONGEST_NAME: Final = 255  # No file system has longer names, but an archive or a form may.
_YEARS: Final = range(1980, 2100)  # Near the ends of the calendar no time zone can be applied.
_MISSING: Final = frozenset({"", "na", "n/a", "#n/a", "null", "none", "nan", "-", "--"})
_NUMBER: Final = re.compile(r"[+-]?\d{1,12}(?:[.,]\d{0,12})?", re.ASCII)
_GROUPED: Final = re.compile(r"\d{1,3}(?:[\u0020\u00a0\u202f]\d{3})+(?:[.,]\d{0,12})?", re.ASCII)
_PLACES: Final = Decimal("1e-9")  # A workbook's numbers are binary: smaller decimals are rounding errors.
_LARGEST: Final = 10**12  # No meter shows more.
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_FRENCH: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?:[ T]+(\d{1,2})[:hH](\d\d)(?::(\d\d))?)?", re.ASCII)
_FIRST_SERIAL: Final = datetime(1899, 12, 30)  # noqa: DTZ001  # Day 0 of a workbook, in local time.
_SERIALS: Final = range(29_221, 73_051)  # From 1980 to 2099.
_SCIENTIFIC: Final = re.compile(r"\d(?:[.,]\d+)?E\+?1\d", re.IGNORECASE)
_HALF_SECOND: Final = timedelta(milliseconds=500)
# Matches what ``shown_name`` hides of a meter's number: all but its last four digits. The number may have fewer than 14
# digits, because a spreadsheet may have dropped its first zero.
_SHOWN_METER: Final = re.compile(r"(?:[0-9]{6,}|GI[0-9]{2})(?=[0-9]{4}(?![0-9]))", re.IGNORECASE)
_EXPORTED: Final = re.compile(
    r"ENEDIS_[RC][0-9]{2}[A-Z]?_.*?(20[0-9]{6})([0-9]{6})?(?:_[0-9]{1,5})?(?=\.[A-Z]|$)", re.IGNORECASE
)
_TIME: Final = re.compile(r"20[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])(?:[01][0-9]|2[0-3])(?:[0-5][0-9]){2}")
_PRODUCTION: Final = re.compile(r"(?<![a-z])prod(?:uction)?(?![a-z])")


class FileFault(StrEnum):
    """Why a file is refused; pages have a sentence for each (``import.why``)."""

    DAMAGED = "damaged"  # The file is damaged, truncated or changed; the error's text names the row, if any.
    EMPTY = "empty"
    UNKNOWN = "unknown"
    UNSUPPORTED = "unsupported"  # The file is recognised, but not supported.
    NO_DAYS = "no_days"  # The file has weeks or months instead of days.
    TOO_LARGE = "too_large"
    OTHER_METER = "other_meter"
    OTHER_ENERGY = "other_energy"
    CLOSED = "closed"  # Nothing is stored for the account any more.


class FileRefused(DataError):
    """A file is damaged or not supported; the text of the error names the file, the row if any, and the reason.

    The text quotes nothing from the file, which may contain a meter's number or an address.
    """

    def __init__(self, text: str, why: FileFault = FileFault.DAMAGED) -> None:
        super().__init__(text)
        self.why = why


@dataclass(frozen=True, slots=True)
class FileSeries:
    """One series of one meter in a file.

    ``file``: the file's name as shown; for a file in a ZIP, with the name of the ZIP before it. ``format``: the name of
    the format, such as ``enedis-hour``. ``usage_point``: the number of the meter, or of the delivery point of gas; None
    if the file has none. ``readings``: in time order, each step or day once, in the form of ``worker.domain.parsing``.
    ``told_at`` (zone-aware): the time of the export; but the end of the last reading's day if this end is later, or if
    the time of the export is unknown. ``dropped``: how many rows have no usable value. ``differing``: how many rows
    have the time of an earlier row, but another value. ``step_minutes``: the lengths of the steps of a curve.
    ``marks``: for each value of which nature, likelihood or state is unusual, all three of these. The key is the local
    end of the value's step, such as ``2023-03-13 00:30:00``.
    """

    file: str
    format: str
    usage_point: str | None = field(repr=False)
    series: Series
    readings: Sequence[IntervalReading] = field(repr=False)
    told_at: datetime
    dropped: int = 0
    step_minutes: tuple[int, ...] = ()
    marks: Mapping[str, tuple[str, str, str]] = field(default_factory=dict, repr=False)
    differing: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """A file, or a sheet of a workbook.

    ``name``: the original name of the file. ``file``: the name to show. ``noun``: what messages call a row, such as
    "line". ``sheet``: the name of the sheet, if any.
    """

    name: str = field(repr=False)
    file: str
    noun: str = "line"
    sheet: str = ""

    @classmethod
    def of(cls, name: str) -> Source:
        """Return the source of a file that isn't in an archive."""
        name = name[-_LONGEST_NAME:]
        return cls(name, shown_name(name))

    def member(self, name: str) -> Source:
        """Return the source of a file in the archive that this source stands for."""
        name = name[-_LONGEST_NAME:]
        return Source(name.rsplit("/", 1)[-1], f"{self.file}/{shown_name(name)}")

    def fail(self, reason: str, number: int | None = None, why: FileFault = FileFault.DAMAGED) -> NoReturn:
        """Raise FileRefused with the file's name and, if one row is at fault, the row's number."""
        place = "" if number is None else f", {self.noun} {number}"
        raise FileRefused(f"{self.file}{place}: {reason}", why) from None

    def refuse_size(self, reason: str, number: int | None = None) -> NoReturn:
        """Raise FileRefused because the file, or a part of it, is too large."""
        self.fail(reason, number, FileFault.TOO_LARGE)


class _BoundedReader(io.RawIOBase):
    """A reader of a file of at most MAX_BYTES. Raises FileRefused if the file is longer or damaged.

    Closing the reader leaves the file open.
    """

    def __init__(self, stream: BinaryIO, source: Source) -> None:
        super().__init__()
        self._stream, self._source, self._left = stream, source, MAX_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        try:
            content = self._stream.read(len(buffer))
        except DAMAGE as error:
            raise FileRefused(f"{self._source.file}: can't be read ({type(error).__name__})") from None
        self._left -= len(content)
        if self._left < 0:
            self._source.refuse_size(f"larger than {MAX_BYTES // MEGABYTE} MB unpacked: split it")
        buffer[: len(content)] = content
        return len(content)


def open_bounded(stream: BinaryIO, source: Source) -> io.BufferedReader:
    """Return a reader that supports ``peek`` and reads at most ``MAX_BYTES`` of a file."""
    return io.BufferedReader(_BoundedReader(stream, source))


def find_utf_16(start: bytes) -> str:
    """Return the encoding of a text in UTF-16; empty for any other text.

    A text without a byte order mark is in UTF-16 if every second byte is zero, as it is for Latin letters.
    """
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = (any(start[first:_START:2]) for first in (0, 1))
    return {(True, False): "utf-16-le", (False, True): "utf-16-be"}.get((even, odd), "")


def read_lines(stream: io.BufferedReader, source: Source) -> Iterator[tuple[int, str]]:
    """Yield the number and the text of each line that isn't blank.

    The file is in UTF-16 or UTF-8, with or without a byte order mark; a line that isn't valid UTF-8 is read as
    Windows-1252.
    """
    utf_16 = find_utf_16(stream.peek(_START))
    text = io.TextIOWrapper(
        stream, encoding=utf_16 or "utf-8-sig", errors="replace" if utf_16 else "surrogateescape", newline=None
    )
    number = 0
    while line := text.readline(_LONGEST_LINE + 1):
        number += 1
        if len(line) > _LONGEST_LINE:
            source.fail("a line is too long for a file of measures", number)
        if number > _MOST_LINES:
            source.refuse_size(f"more than {_MOST_LINES} lines, blank ones among them")
        if "\0" in line:
            source.fail("it is not text", number)
        if line.strip():
            yield number, _decode(line.rstrip("\n"))


def _decode(line: str) -> str:
    try:
        line.encode()
    except UnicodeEncodeError:
        return line.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return line


@dataclass(frozen=True, slots=True)
class TableLine:
    """One row of a table; ``columns``: the index of each column in ``cells``, by the column's ``plain_name``.

    The methods that read a cell raise FileRefused if its content is invalid.
    """

    source: Source
    number: int
    cells: Sequence[Any] = field(repr=False)
    columns: Mapping[str, int] = field(default_factory=dict, repr=False)

    def fail(self, reason: str) -> NoReturn:
        """Raise FileRefused with the number of the row."""
        self.source.fail(reason, self.number)

    def cell(self, column: str) -> Any:
        """Return the content of a cell. Raises FileRefused if the row is too short."""
        index = self.columns[column]
        if index >= len(self.cells):
            self.fail(f"has {len(self.cells)} columns, needs {index + 1}")
        return self.cells[index]

    def text(self, column: str) -> str:
        """Return the text of a cell; empty for a column that the table doesn't have."""
        return "" if column not in self.columns else str(self.cell(column))

    def value(self, column: str) -> Any:
        """Return the content of a cell; None if the table lacks the column, or the row is too short."""
        index = self.columns.get(column, len(self.cells))
        return self.cells[index] if index < len(self.cells) else None

    def names(self) -> dict[str, int]:
        """Take this row as a header: return the place of each column by its plain name."""
        names: dict[str, int] = {}
        for index, cell in enumerate(self.cells):
            if isinstance(cell, str) and (name := plain_name(cell)):
                names.setdefault(name, index)
        return names

    def need(self, *columns: str) -> None:
        """Raise FileRefused if this header row lacks one of the columns."""
        names = self.names()
        if missing := [name for name in columns if name not in names]:
            self.fail(f"no column {missing[0]!r}; the header must have {', '.join(columns)}")

    def moment(self, column: str, is_iso: bool = False) -> datetime:
        """Return the time in a cell as written: naive (local) or with its offset. ``is_iso``: refuse dates with "/"."""
        cell = self.cell(column)
        moment = None if is_iso and isinstance(cell, str) and "/" in cell else _to_moment(cell)
        if moment is None:
            self.fail(f"{column} must be a date and time like 2024-01-31 00:30:00")
        if moment.year not in _YEARS:
            self.fail(f"the year of {column} is impossible for a reading")
        return moment

    def number_or_none(self, column: str) -> Decimal | None:
        """Return the number in a cell with all its digits; None for a mark of a missing value."""
        cell = self.cell(column)
        if cell is None or (isinstance(cell, str) and cell.casefold() in _MISSING):
            return None
        number = _to_number(cell)
        if number is None or abs(number) >= _LARGEST:
            self.fail("the value is not a number")
        return number

    def number_if_there(self, column: str) -> Decimal | None:
        """Like ``number_or_none``, but also None if the table lacks the column, or the row is too short."""
        return None if self.value(column) is None else self.number_or_none(column)

    def check_width(self) -> None:
        """Raise FileRefused if there are cells beyond the last column, for example due to an unquoted decimal comma."""
        named = max(self.columns.values(), default=-1) + 1
        if isinstance(self.cells[0], str) and any(cell not in (None, "") for cell in self.cells[named:]):
            self.fail(f"has {len(self.cells)} cells, but the header has {named}")

    def usage_point(self) -> str | None:
        """Return the meter's number; None if there is none, or if a spreadsheet or we have hidden digits of it."""
        text = digits_of(self.cell("identifiant prm"))
        if not text or _SCIENTIFIC.fullmatch(text):
            return None
        text = text.zfill(14) if len(text) == 13 else text  # A spreadsheet drops the leading zero.
        if len(text) != 14 or not (text.isascii() and text.isdigit()):
            self.fail("the meter number (Identifiant PRM) must have 14 digits")
        return None if text.startswith(HIDDEN_DIGITS) else text


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a known format: the rows above its header, the header, and the rows below."""

    source: Source
    above: Sequence[TableLine]
    header: TableLine
    below: Iterator[TableLine]

    def rows(self, *needed: str) -> Iterator[TableLine]:
        """Yield the rows below the header, with the header's columns. Raises FileRefused if a needed column is missing.

        A repeated header is skipped, because people concatenate files.
        """
        self.header.need(*needed)
        columns = self.header.names()
        for line in self.below:
            if line.cells[: len(self.header.cells)] == self.header.cells:
                continue
            yield TableLine(line.source, line.number, line.cells, columns)

    def words_above(self) -> str:
        """Return the plain text of the sheet's name and of the rows above the header."""
        cells = [cell for line in self.above for cell in line.cells if isinstance(cell, str)]
        return " ".join(map(plain_name, [self.source.sheet, *cells]))


@dataclass(frozen=True, slots=True)
class TableFormat:
    """A format of tables, recognised by the ``columns`` of the header. ``read`` yields the series of a table."""

    name: str
    columns: frozenset[str]
    read: Callable[[Table], Iterator[FileSeries]]


def split_lines(lines: Iterable[tuple[int, str]], source: Source, delimiter: str) -> Iterator[TableLine]:
    """Yield the rows of a text; rows whose cells are all empty are left out."""
    for number, text in lines:
        cells = split_cells(text, delimiter)
        if cells is None:
            source.fail("its cells can't be separated", number)
        if any(cells):
            yield TableLine(source, number, cells)


def split_cells(text: str, delimiter: str) -> list[str] | None:
    """Return the cells of one line without quotes and surrounding spaces; None for invalid quotes or too many cells."""
    if text.count(delimiter) >= _MOST_CELLS:
        return None
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter), [])]
    except csv.Error:
        return None


def bounded_rows(lines: Iterable[TableLine]) -> Iterator[TableLine]:
    """Yield rows up to ``MAX_ROWS``. Raises FileRefused if there are more."""
    for count, line in enumerate(lines, start=1):
        if count > MAX_ROWS:
            line.source.refuse_size(f"more than {MAX_ROWS} rows: split the file by year", line.number)
        yield line


def plain_name(name: str) -> str:
    """Return the name of a column in lower case without accents, even if its accents were encoded twice."""
    if "Ã" in name:
        name = _repair(name)
    return to_plain(name.replace("\ufeff", ""))


def _repair(text: str) -> str:
    try:
        return text.encode("cp1252").decode()
    except UnicodeError:
        return text


def _to_moment(cell: Any) -> datetime | None:
    if isinstance(cell, datetime):
        return (cell + _HALF_SECOND).replace(microsecond=0) if 1 < cell.year < 9999 else cell
    if isinstance(cell, date):
        return datetime.combine(cell, datetime.min.time())
    if isinstance(cell, int | float) and not isinstance(cell, bool):
        if not math.isfinite(cell) or int(cell) not in _SERIALS:
            return None
        return _FIRST_SERIAL + timedelta(seconds=round(cell * 86_400))
    return _read_moment(cell) if isinstance(cell, str) else None


def _read_moment(text: str) -> datetime | None:
    try:
        if _ISO.fullmatch(text):
            return datetime.fromisoformat(text)
        if match := _FRENCH.fullmatch(text):
            day, month, year, hour, minute, second = (int(part or 0) for part in match.groups())
            if (hour, minute, second) == (24, 0, 0):
                return datetime(year, month, day) + timedelta(days=1)  # noqa: DTZ001
            return datetime(year, month, day, hour, minute, second)  # noqa: DTZ001
    except (ValueError, OverflowError):  # For example the 31st of February.
        pass
    return None


def _to_number(cell: Any) -> Decimal | None:
    if isinstance(cell, bool) or not isinstance(cell, int | float | str):
        return None
    if isinstance(cell, str):
        text = re.sub(r"\s", "", cell) if _GROUPED.fullmatch(cell) else cell
        return Decimal(text.replace(",", ".")) if _NUMBER.fullmatch(text) else None
    if not math.isfinite(cell) or abs(cell) >= _LARGEST:
        return None
    return Decimal(repr(cell)).quantize(_PLACES).normalize() if isinstance(cell, float) else Decimal(cell)


def digits_of(cell: Any) -> str:
    """Return the text of a cell with a meter's number; the cell may also be a number, or a text like ``="0123"``."""
    if isinstance(cell, float) and math.isfinite(cell) and cell == int(cell):
        return str(int(cell)) if abs(cell) < _LARGEST * 1000 else ""
    return "" if cell is None else str(cell).strip("'\"= ")


def shown_name(name: str) -> str:
    """Return a file's name with meter numbers cut to their last four digits: ``…0011.daily.csv``."""
    return _SHOWN_METER.sub("…", "".join(letter if letter.isprintable() else "?" for letter in name))


def number_in_name(name: str) -> str | None:
    """Return the meter's number in a file's name; None if the name has none, or several.

    A time like 20250313101500 also has 14 digits but doesn't count.
    """
    numbers = {number for number in METER_NUMBER.findall(name) if not _TIME.fullmatch(number)}
    return numbers.pop() if len(numbers) == 1 else None


def time_in_name(name: str) -> datetime | None:
    """Return the time at which the portal wrote a file, from the file's name; None if the name has no time.

    A name with only a date means the first instant of that day.
    """
    match = _EXPORTED.search(name.removesuffix(".gz"))
    if match is not None:
        with suppress(ValueError):
            return datetime.strptime(match[1] + (match[2] or "000000"), "%Y%m%d%H%M%S").replace(tzinfo=PARIS)
    return None


def names_production(name: str) -> bool:
    """Return whether a file's name says that it contains production."""
    return bool(_PRODUCTION.search(to_plain(name)))
