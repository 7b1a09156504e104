"""Readers of recorded series, one for each file format.

The formats are Enedis' own exports (with or without a byte order mark, separated by ``;``, with footers and sometimes
doubly encoded accents) and two plain CSV formats of ours.  An error names the file and the line.
"""

from __future__ import annotations

import gzip
import math
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from worker.domain.measures.readings import ONE_DAY, PARIS
from worker.errors import DataError
from worker.simulator.homes.gas.readings import GasReading
from worker.simulator.homes.series import STEPS, Number

_YEARS: Final = range(1980, 2100)  # Near the ends of the calendar no time zone can be applied.
_SUMMER_MIDNIGHT_SHIFT: Final = timedelta(hours=1)  # Exports of early 2024 write 01:00+02:00 for midnight in summer.
_LARGEST: Final = 10**12  # No meter shows more.
_R63_STEPS: Final = {f"PT{minutes}M": minutes for minutes in STEPS} | {"PT1H": 60}
_R63_MARKS: Final = {"nature": "B", "indice de vraisemblance": "0", "etat complementaire": "0"}


class BrokenRecording(DataError):
    """Recorded file that can't be used; the text names file and line."""


class RecordedRow(NamedTuple):
    """Row of a recorded curve.

    ``end`` is naive local time or has an offset; ``watts`` is None where the source is empty; ``minutes`` is None
    where the source does not state the step.
    """

    end: datetime
    watts: Number | None
    minutes: int | None = None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """Content of one file: rows of a load curve, or Wh by day; ``production``: of what the meter feeds in.

    ``gas``: gas days, or billed periods where ``has_periods``; None where it is none of gas.
    """

    usage_point: str
    production: bool = False
    rows: Sequence[RecordedRow] = ()
    days: Mapping[date, Number] = field(default_factory=dict)
    gas: Sequence[GasReading] | None = None
    has_periods: bool = False


@dataclass(frozen=True, slots=True)
class TableLine:
    """One line of a table; its readers raise BrokenRecording with file and line."""

    path: Path
    number: int
    cells: Sequence[str]
    columns: Mapping[str, int]

    def fail(self, reason: str) -> NoReturn:
        raise BrokenRecording(f"{self.path.name}, line {self.number}: {reason}")

    def cell(self, column: str) -> str:
        index = self.columns[column]
        if index >= len(self.cells):
            self.fail(f"has {len(self.cells)} columns, needs {index + 1}")
        return self.cells[index]

    def moment(self, column: str) -> datetime:
        try:
            moment = datetime.fromisoformat(self.cell(column))
        except ValueError:
            self.fail(f"{column} must be a date and time like 2024-01-31 00:30:00")
        if moment.year not in _YEARS:
            self.fail(f"the year of {column} is none in which a meter can have been read")
        return moment

    def number_or_none(self, column: str) -> Number | None:
        text = self.cell(column)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            self.fail("the value is not a number")
        return int(value) if value == int(value) else value

    def decimal_or_none(self, column: str) -> Decimal | None:
        """Return the number with its digits, None for an empty cell."""
        text = self.cell(column)
        if not text:
            return None
        try:
            value = Decimal(text)
        except InvalidOperation:
            value = Decimal("NaN")
        if not value.is_finite() or abs(value) > _LARGEST:
            self.fail("the value is not a number")
        return value

    def usage_point(self) -> str:
        text = self.cell("identifiant prm").strip("'\"=")
        if len(text) != 14 or not (text.isascii() and text.isdigit()):
            self.fail("the meter number (Identifiant PRM) must have 14 digits")
        return text


def read_curve(path: Path) -> RecordedFile:
    """Read a plain load curve.  Raises BrokenRecording, as all readers do.

    Example: ``date_end_local,watts``, then ``2024-01-31 00:30:00,420``.
    """
    table = _table(path, _numbered_lines(path, ","), "date_end_local", "watts")
    return RecordedFile(path.name[:14], rows=_curve_rows(table, "date_end_local", "watts"))


def read_daily(path: Path) -> RecordedFile:
    """Read plain daily values; a day with an empty value has none.

    Example: ``date,wh``, then ``2024-01-31,12345``.
    """
    days = {}
    for line in _table(path, _numbered_lines(path, ","), "date", "wh"):
        value = line.number_or_none("wh")
        if value is not None:
            days[line.moment("date").date()] = value
    return RecordedFile(path.name[:14], days=days)


def read_hour_export(path: Path) -> RecordedFile:
    """Read the load curve exported from the customer site: two lines on the meter, then end labels and mean W.

    Example: ``Horodate;Valeur``, then ``2023-10-29T01:30:00+02:00;100``.
    """
    lines = _numbered_lines(path, ";")
    usage_point, production = _read_export_head(path, lines)
    table = _until_footer(_table(path, lines, "horodate", "valeur"))
    return RecordedFile(usage_point, production, rows=_curve_rows(table, "horodate", "valeur"))


def read_index_export(path: Path) -> RecordedFile:
    """Read the indexes exported from the customer site; a day is the difference between two consecutive midnights.

    ``EAS T`` counts the energy that is drawn, in Wh.  A file of production, which its second line tells, has the same
    columns, empty, and ``EAI T``, the energy that is fed in.

    Example: ``Horodate;Type de releve;EAS F1;EAS T``, then ``2024-03-31T00:00:00+01:00;Arrêté quotidien;1;3000``.
    """
    lines = _numbered_lines(path, ";")
    usage_point, production = _read_export_head(path, lines)
    total = "eai t" if production else "eas t"
    indexes: dict[date, Number] = {}
    for line in _until_footer(_table(path, lines, "horodate", total)):
        index = line.number_or_none(total)
        midnight = _day_of_midnight(line.moment("horodate"))
        if index is not None and midnight is not None:
            indexes[midnight] = index
    days = {
        day: indexes[following] - indexes[day]
        for day, following in pairwise(sorted(indexes))
        if following - day == ONE_DAY and indexes[following] >= indexes[day]  # An index falls when a meter is replaced.
    }
    return RecordedFile(usage_point, production, days=days)


def read_r63_export(path: Path) -> RecordedFile:
    """Read the load curve exported from the business portal: one line per point, with its step and quality.

    Rows of other quantities than active power (PA) in W are ignored.
    """
    needed = ("identifiant prm", "grandeur physique", "grandeur metier", "unite", "horodate", "valeur", "pas")
    rows: list[RecordedRow] = []
    series: set[tuple[str, bool]] = set()
    for line in _until_footer(_table(path, _numbered_lines(path, ";"), *needed)):
        if line.cell("grandeur physique") != "PA" or line.cell("unite") != "W":
            continue
        series.add((line.usage_point(), _is_production(line)))
        if len(series) > 1:
            line.fail("another meter or direction begins; one file, one series")
        rows.append(_r63_row(line))
    if not rows:
        raise BrokenRecording(f"{path.name}: no point of active power (PA) in W")
    return RecordedFile(*series.pop(), rows=rows)


def _r63_row(line: TableLine) -> RecordedRow:
    minutes = _R63_STEPS.get(line.cell("pas"))
    if minutes is None:
        line.fail("the step (Pas) is none of PT5M, PT10M, PT15M, PT30M, PT60M")
    marks = tuple(
        (line.cell(column) if column in line.columns else "") or default for column, default in _R63_MARKS.items()
    )
    return RecordedRow(line.moment("horodate"), line.number_or_none("valeur"), minutes, marks)


def read_table(path: Path, *needed: str) -> Iterator[TableLine]:
    """Yield the lines of a plain table with these columns, separated by commas.  Raises BrokenRecording."""
    return _table(path, _numbered_lines(path, ","), *needed)


def _curve_rows(table: Iterator[TableLine], end: str, watts: str) -> list[RecordedRow]:
    return [RecordedRow(line.moment(end), line.number_or_none(watts)) for line in table]


def _day_of_midnight(moment: datetime) -> date | None:
    """Return the local day that begins at ``moment``; None for an index of another time of day."""
    local = moment.astimezone(PARIS).replace(tzinfo=None) if moment.tzinfo is not None else moment
    time_of_day = local - datetime.combine(local.date(), datetime.min.time())
    return local.date() if time_of_day in (timedelta(0), _SUMMER_MIDNIGHT_SHIFT) else None


def _read_export_head(path: Path, lines: Iterator[tuple[int, list[str]]]) -> tuple[str, bool]:
    line = next(_table(path, lines, "identifiant prm", "grandeur metier"), None)
    if line is None:
        raise BrokenRecording(f"{path.name}: ends after its first line")
    return line.usage_point(), _is_production(line)


def _is_production(line: TableLine) -> bool:
    return line.cell("grandeur metier").lower().startswith("prod")


def _table(path: Path, lines: Iterator[tuple[int, list[str]]], *needed: str) -> Iterator[TableLine]:
    """Yield the lines below the next one, which names the columns; names are compared without accents."""
    number, names = next(lines, (1, []))
    columns = {_plain_name(name): index for index, name in enumerate(names)}
    if missing := [name for name in needed if name not in columns]:
        raise BrokenRecording(
            f"{path.name}, line {number}: no column {missing[0]!r}; the header must name {', '.join(needed)}"
        )
    for number, cells in lines:
        yield TableLine(path, number, cells, columns)


def _until_footer(table: Iterator[TableLine]) -> Iterator[TableLine]:
    """Yield the rows of data, which begin with a digit, until the footer, which begins with a word."""
    for line in table:
        if not line.cells[0][:1].isdigit():
            if _plain_name(line.cells[0]).startswith("periode"):
                return
            line.fail("neither a row of data nor the footer, which begins with Periode")
        yield line


def _numbered_lines(path: Path, separator: str) -> Iterator[tuple[int, list[str]]]:
    """Yield number and stripped cells of the lines that are not blank."""
    for number, text in enumerate(_read_text(path).splitlines(), start=1):
        if text.strip():
            yield number, [cell.strip() for cell in text.split(separator)]


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise BrokenRecording(f"{path.name}: can't be read ({type(error).__name__})") from error
    try:
        # The codec removes a byte order mark, which would otherwise stick to the first column's name.
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _plain_name(name: str) -> str:
    decomposed = unicodedata.normalize("NFD", name.strip().lower())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
