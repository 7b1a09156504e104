"""One reader for each kind of file that holds a recorded series.

Sources of the forms: Enedis' own exports (a byte order mark or none, ``;``, footers, doubly encoded accents), and our
two plain CSV forms.  Whatever can't be read is named with its file and line.
"""

from __future__ import annotations

import gzip
import math
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple, NoReturn

from worker.domain.measures.readings import PARIS
from worker.errors import DataError
from worker.simulator.homes.series import STEPS, Direction, Number

_YEARS: Final = range(1980, 2100)  # near the ends of the calendar no zone can be applied
_ONE_DAY: Final = timedelta(days=1)
_SUMMER_MIDNIGHT_SHIFT: Final = timedelta(hours=1)  # exports of early 2024 say 01:00+02:00 and mean midnight


class BrokenRecording(DataError):
    """A recorded file can't be used; the text names file and line."""


class RecordedRow(NamedTuple):
    """``end`` naive local or with an offset; ``watts`` None where the source is empty; ``minutes`` None if untold."""

    end: datetime
    watts: Number | None
    minutes: int | None = None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordedFile:
    usage_point: str
    direction: Direction = Direction.CONSUMPTION
    rows: Sequence[RecordedRow] = ()
    days: Mapping[date, Number] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of a file, with what is needed to complain about it."""

    path: Path
    number: int
    cells: Sequence[str]

    def complain(self, reason: str) -> NoReturn:
        raise BrokenRecording(f"{self.path.name}, line {self.number}: {reason}")

    def cell(self, index: int) -> str:
        if index >= len(self.cells):
            self.complain(f"has {len(self.cells)} columns, needs {index + 1}")
        return self.cells[index]

    def moment(self, index: int) -> datetime:
        try:
            moment = datetime.fromisoformat(self.cell(index))
        except ValueError:
            self.complain("the first column must be a date and time like 2024-01-31 00:30:00")
        if moment.year not in _YEARS:
            self.complain("the year of the first column is none in which a meter can have been read")
        return moment

    def number_or_none(self, index: int) -> Number | None:
        text = self.cell(index)
        try:
            value = float(text) if text else None
        except ValueError:
            self.complain("the value is not a number")
        if value is None:
            return None
        if not math.isfinite(value):
            self.complain("the value is not a number")
        return int(value) if value == int(value) else value

    def usage_point(self, index: int) -> str:
        text = self.cell(index).strip("'\"=")
        if len(text) != 14 or not (text.isascii() and text.isdigit()):
            self.complain("the meter number (Identifiant PRM) must have 14 digits")
        return text


def read_curve(path: Path) -> RecordedFile:
    """``date_end_local,watts``.  Raises BrokenRecording, as all readers do."""
    rows = [
        RecordedRow(line.moment(0), line.number_or_none(1)) for line in _after_header(path, "date_end_local", "watts")
    ]
    return RecordedFile(path.name[:14], rows=rows)


def read_daily(path: Path) -> RecordedFile:
    """``date,wh``; an empty value is a day without one."""
    days = {}
    for line in _after_header(path, "date", "wh"):
        value = line.number_or_none(1)
        if value is not None:
            days[line.moment(0).date()] = value
    return RecordedFile(path.name[:14], days=days)


def read_hour_export(path: Path) -> RecordedFile:
    """Two lines on the meter, then ``Horodate;Valeur`` with end labels and offsets, mean W."""
    lines = _lines(path, ";")
    usage_point, direction = _export_head(path, lines)
    columns = _find_columns(path, lines, "horodate", "valeur")
    rows = [
        RecordedRow(line.moment(columns["horodate"]), line.number_or_none(columns["valeur"]))
        for line in _until_footer(lines)
    ]
    return RecordedFile(usage_point, direction, rows=rows)


def read_index_export(path: Path) -> RecordedFile:
    """The meter's total index of each midnight; a day is the difference of two midnights that follow each other."""
    lines = _lines(path, ";")
    usage_point, direction = _export_head(path, lines)
    columns = _find_columns(path, lines, "horodate", "eas t")
    indexes: dict[date, Number] = {}
    for line in _until_footer(lines):
        index = line.number_or_none(columns["eas t"])
        midnight = _midnight(line.moment(columns["horodate"]))
        if index is not None and midnight is not None:
            indexes[midnight] = index
    days = {
        day: indexes[following] - indexes[day]
        for day, following in pairwise(sorted(indexes))
        if following - day == _ONE_DAY and indexes[following] >= indexes[day]  # less: another meter was fitted
    }
    return RecordedFile(usage_point, direction, days=days)


def read_r63_export(path: Path) -> RecordedFile:
    """One line a point, each with its step and quality; active power in W alone is taken."""
    lines = _lines(path, ";")
    columns = _find_columns(
        path, lines, "identifiant prm", "grandeur physique", "grandeur metier", "unite", "horodate", "valeur", "pas"
    )
    rows: list[RecordedRow] = []
    meters: set[tuple[str, str]] = set()
    for line in _until_footer(lines):
        if line.cell(columns["grandeur physique"]) != "PA" or line.cell(columns["unite"]) != "W":
            continue
        meters.add((line.usage_point(columns["identifiant prm"]), line.cell(columns["grandeur metier"])))
        if len(meters) > 1:
            line.complain("another meter or direction begins; one file, one series")
        rows.append(_r63_row(line, columns))
    if not rows:
        raise BrokenRecording(f"{path.name}: no point of active power (PA) in W")
    usage_point, trade = meters.pop()
    return RecordedFile(usage_point, _direction(trade), rows=rows)


def _r63_row(line: _Line, columns: Mapping[str, int]) -> RecordedRow:
    step = line.cell(columns["pas"])
    minutes = {f"PT{minutes}M": minutes for minutes in STEPS} | {"PT1H": 60}
    if step not in minutes:
        line.complain("the step (Pas) is none of PT5M, PT10M, PT15M, PT30M, PT60M")
    names = ("nature", "indice de vraisemblance", "etat complementaire")
    marks = tuple(
        (line.cell(columns[name]) if name in columns else "") or default
        for name, default in zip(names, ("B", "0", "0"), strict=True)
    )
    moment = line.moment(columns["horodate"])
    return RecordedRow(moment, line.number_or_none(columns["valeur"]), minutes[step], marks)


def _midnight(moment: datetime) -> date | None:
    """The local day that begins at ``moment``; None for a reading taken at another time."""
    local = moment.astimezone(PARIS).replace(tzinfo=None) if moment.tzinfo is not None else moment
    since = local - datetime.combine(local.date(), datetime.min.time())
    return local.date() if since in (timedelta(0), _SUMMER_MIDNIGHT_SHIFT) else None


def _export_head(path: Path, lines: Iterator[_Line]) -> tuple[str, Direction]:
    columns = _find_columns(path, lines, "identifiant prm", "grandeur metier")
    line = next(lines, None)
    if line is None:
        raise BrokenRecording(f"{path.name}: ends after its first line")
    return line.usage_point(columns["identifiant prm"]), _direction(line.cell(columns["grandeur metier"]))


def _direction(trade: str) -> Direction:
    return Direction.PRODUCTION if trade.lower().startswith("prod") else Direction.CONSUMPTION


def _find_columns(path: Path, lines: Iterator[_Line], *needed: str) -> dict[str, int]:
    """Where each column stands, by its name without accents; the header is the next line."""
    line = next(lines, None)
    if line is None:
        raise BrokenRecording(f"{path.name}: no header with the columns {', '.join(needed)}")
    columns = {_plain(name): index for index, name in enumerate(line.cells)}
    missing = [name for name in needed if name not in columns]
    if missing:
        line.complain(f"no column {missing[0]!r}; the header must name {', '.join(needed)}")
    return columns


def _until_footer(lines: Iterator[_Line]) -> Iterator[_Line]:
    """Rows of data: what begins with a digit; footers begin with a word."""
    for line in lines:
        if not line.cells[0][:1].isdigit():
            if _plain(line.cells[0]).startswith("periode"):
                return
            line.complain("neither a row of data nor the footer, which begins with Periode")
        yield line


def _after_header(path: Path, *names: str) -> Iterator[_Line]:
    lines = _lines(path, ",")
    header = next(lines, None)
    if header is None or [_plain(name) for name in header.cells] != list(names):
        raise BrokenRecording(f"{path.name}, line 1: the header must be {','.join(names)}")
    return lines


def _lines(path: Path, separator: str) -> Iterator[_Line]:
    """Lines that hold something, stripped; the byte order mark is no part of the first name."""
    for number, text in enumerate(_read_text(path).splitlines(), start=1):
        if text.strip():
            yield _Line(path, number, [cell.strip() for cell in text.split(separator)])


def _read_text(path: Path) -> str:
    try:
        raw = path.read_bytes()
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as error:
        raise BrokenRecording(f"{path.name}: can't be read ({type(error).__name__})") from error
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _plain(name: str) -> str:
    decomposed = unicodedata.normalize("NFD", name.strip().lower())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
