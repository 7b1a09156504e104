"""Rows of tables, from text or from a workbook, and the values in their cells.

A cell is a text such as ``1 234,5``, ``31/01/2025 00:30:00`` or ``NA``, or what a workbook holds: a number, a date or a
time. What says that a value is missing (empty, NA, null) is none, never zero.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NoReturn

from worker.domain.files.file_series import FileFault, FileSeries
from worker.domain.files.sources import MAX_ROWS, Source
from worker.domain.parsing.values import to_plain

DELIMITERS: Final = (";", ",", "\t")
_YEARS: Final = range(1980, 2100)  # Near the ends of the calendar no time zone can be applied.
_MISSING: Final = frozenset({"", "na", "n/a", "#n/a", "null", "none", "nan", "-", "--"})
_NUMBER: Final = re.compile(r"[+-]?\d{1,12}(?:[.,]\d{0,12})?", re.ASCII)
_GROUPED: Final = re.compile(r"\d{1,3}(?:[\u0020\u00a0\u202f]\d{3})+(?:[.,]\d{0,12})?", re.ASCII)
_MOST_CELLS: Final = 500  # Of a line; footers of indexes have a hundred.
_PLACES: Final = Decimal("1e-9")  # Below it, a number of a workbook is what its binary form has added.
_LARGEST: Final = 10**12  # No meter shows more.
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6})?)?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_FRENCH: Final = re.compile(r"(\d{1,2})/(\d{1,2})/(\d{4})(?:[ T]+(\d{1,2})[:hH](\d\d)(?::(\d\d))?)?", re.ASCII)
_FIRST_SERIAL: Final = datetime(1899, 12, 30)  # noqa: DTZ001  # Day 0 of a workbook, in local time.
_SERIALS: Final = range(29_221, 73_051)  # From 1980 to 2099.
_SCIENTIFIC: Final = re.compile(r"\d(?:[.,]\d+)?E\+?1\d", re.IGNORECASE)
_HALF_SECOND: Final = timedelta(milliseconds=500)


@dataclass(frozen=True, slots=True)
class TableLine:
    """One row of a table; ``columns``: the place of each column by its plain name. Its readers raise FileRefused."""

    source: Source
    number: int
    cells: Sequence[Any] = field(repr=False)
    columns: Mapping[str, int] = field(default_factory=dict, repr=False)

    def fail(self, reason: str) -> NoReturn:
        """Raise FileRefused with the number of the row."""
        self.source.fail(reason, self.number)

    def cell(self, column: str) -> Any:
        """Return what is in a cell; a text without the blanks around it."""
        index = self.columns[column]
        if index >= len(self.cells):
            self.fail(f"has {len(self.cells)} columns, needs {index + 1}")
        return self.cells[index]

    def text(self, column: str) -> str:
        """Return the text of a cell; empty for a column that the table doesn't have."""
        return "" if column not in self.columns else str(self.cell(column))

    def value(self, column: str) -> Any:
        """Return what is in a cell; None for a column that the table doesn't have, or before which the row ends."""
        index = self.columns.get(column, len(self.cells))
        return self.cells[index] if index < len(self.cells) else None

    def names(self) -> dict[str, int]:
        """Return the place of each column, where this row is the one that names them; names have no accents."""
        names: dict[str, int] = {}
        for index, cell in enumerate(self.cells):
            if isinstance(cell, str) and (name := plain_name(cell)):
                names.setdefault(name, index)
        return names

    def need(self, *columns: str) -> None:
        """Check, on the row that names the columns, that these are there."""
        names = self.names()
        if missing := [name for name in columns if name not in names]:
            self.fail(f"no column {missing[0]!r}; the header must have {', '.join(columns)}")

    def moment(self, column: str, is_iso: bool = False) -> datetime:
        """Return a time as it is told: naive local time, or with its offset; ``is_iso``: French dates are none."""
        cell = self.cell(column)
        moment = None if is_iso and isinstance(cell, str) and "/" in cell else _to_moment(cell)
        if moment is None:
            self.fail(f"{column} must be a date and time like 2024-01-31 00:30:00")
        if moment.year not in _YEARS:
            self.fail(f"the year of {column} is impossible for a reading")
        return moment

    def number_or_none(self, column: str) -> Decimal | None:
        """Return a number with its digits; None where it says that there is none."""
        cell = self.cell(column)
        if cell is None or (isinstance(cell, str) and cell.casefold() in _MISSING):
            return None
        number = _to_number(cell)
        if number is None or abs(number) >= _LARGEST:
            self.fail("the value is not a number")
        return number

    def check_width(self) -> None:
        """Check that no cell stands beyond the columns: a decimal comma between commas would make one."""
        named = max(self.columns.values(), default=-1) + 1
        if isinstance(self.cells[0], str) and any(cell not in (None, "") for cell in self.cells[named:]):
            self.fail(f"has {len(self.cells)} cells, but the header has {named}")

    def usage_point(self, column: str = "identifiant prm") -> str | None:
        """Return the meter's number; None where there is none, or a spreadsheet has lost its digits."""
        text = digits_of(self.cell(column))
        if not text or _SCIENTIFIC.fullmatch(text):
            return None
        text = text.zfill(14) if len(text) == 13 else text  # A spreadsheet drops the zero at the beginning.
        if len(text) != 14 or not (text.isascii() and text.isdigit()):
            self.fail("the meter number (Identifiant PRM) must have 14 digits")
        return text


@dataclass(frozen=True, slots=True)
class Table:
    """Table whose format is known: the rows above its header, the header, and the rows below."""

    source: Source
    above: Sequence[TableLine]
    header: TableLine
    below: Iterator[TableLine]

    def rows(self, *needed: str) -> Iterator[TableLine]:
        """Yield the rows below with their columns. Checks the columns.

        The header may come again, where somebody has put several files together.
        """
        self.header.need(*needed)
        columns = self.header.names()
        for line in self.below:
            if line.cells[: len(self.header.cells)] == self.header.cells:
                continue
            yield TableLine(line.source, line.number, line.cells, columns)

    def words_above(self) -> str:
        """Return the plain text above the header and of the sheet's name."""
        cells = [cell for line in self.above for cell in line.cells if isinstance(cell, str)]
        return " ".join(map(plain_name, [self.source.sheet, *cells]))


@dataclass(frozen=True, slots=True)
class TableFormat:
    """Format of tables, known by the columns that its header names. ``read`` yields its series."""

    name: str
    columns: frozenset[str]
    read: Callable[[Table], Iterator[FileSeries]]


def split_lines(lines: Iterable[tuple[int, str]], source: Source, delimiter: str) -> Iterator[TableLine]:
    """Yield the rows of a text; those whose cells are all empty are left out."""
    for number, text in lines:
        cells = split_cells(text, delimiter)
        if cells is None:
            source.fail("its cells can't be separated", number)
        if any(cells):
            yield TableLine(source, number, cells)


def split_cells(text: str, delimiter: str) -> list[str] | None:
    """Return the cells of one line without quotes and blanks; None where that can't be done, or for too many."""
    if text.count(delimiter) >= _MOST_CELLS:
        return None
    try:
        return [cell.strip() for cell in next(csv.reader([text], delimiter=delimiter), [])]
    except csv.Error:
        return None


def bounded_rows(lines: Iterable[TableLine], limit: int = MAX_ROWS) -> Iterator[TableLine]:
    """Yield rows up to a limit. Raises FileRefused beyond it."""
    for count, line in enumerate(lines, start=1):
        if count > limit:
            line.source.fail(f"more than {limit} rows: split the file by year", line.number, FileFault.TOO_LARGE)
        yield line


def plain_name(name: str) -> str:
    """Return the name of a column without accents and capitals, also where its accents were encoded twice."""
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
    """Return a meter's number as text; workbooks hold it as a number, exports of spreadsheets as ``="0123"``."""
    if isinstance(cell, float) and math.isfinite(cell) and cell == int(cell):
        return str(int(cell)) if abs(cell) < _LARGEST * 1000 else ""
    return "" if cell is None else str(cell).strip("'\"= ")
