"""The exports of Enedis' customer site (since 2025, and until 2024), and of other people's tools for this site.

Since 2025: workbooks, and the CSV files that people save from them.

    Point Référence Mesure (PRM) :  | 99000000000011 | Type de comptage :  | Consommation Quotidienne
    Date       | Valeur (en kWh)
    01/01/2025 | 6.329
    03/01/2025 | NA

    Début               | Fin                 | Valeur (en kW)
    26/10/2025 02:30:00 | 26/10/2025 02:00:00 | 0,412

The header may be in any row, and its columns in any order. Times are texts, dates of the workbook or serial numbers of
days, always in local time. The length of a step is computed from its start and end. The order of the rows distinguishes
the two passes of the autumn hour. Below the data there may be notes.

Until 2024: CSV of the load curve, and of the indexes of consumption and production.

    Identifiant PRM;Type de donnees;Date de debut;Date de fin;Grandeur physique;Grandeur metier;Etape metier;Unite
    99000000000011;Index;09/01/2024;25/07/2024;Energie active;Consommation;Comptage Brut;Wh
    Horodate;Type de releve;EAS F1;…;EAS F10;EAS D1;…;EAS D4;EAS T
    2024-01-10T00:00:00+01:00;Arrêté quotidien;17424711;…;18623827
    Periode;Identifiant calendrier fournisseur;…;Identifiant classe temporelle 1;…;Cadran classe temporelle 1;…
    Du 2024-01-10T00:00:00+01:00 au;FC000050;…;BUHC;…;EAS F1;…

A block of the type ``Courbe de charge`` has ``Horodate;Valeur`` instead of the registers: the end of a step, and its
mean power in W. A file has one or several blocks; a block with the days' maximum powers (``Puissance maximale
quotidienne``) is skipped. Each row of the footer tells which tariff periods the registers of the energy supplier (F)
and of the distributor (D) count from the date of that row on.

Other people's tools:

    debut;fin;kW                                                       a browser extension (October 2025)
    2025-10-01T00:00:00+02:00;2025-10-01T00:30:00+02:00;"0,412"

    Courbe de charge Linky (pas 30 min) - PRM 99000000000011           the script of a price simulator (July 2026)
    Horodate fin de pas;Puissance moyenne (W)
    2026-07-13T23:00:00;420

The extension's file has start and end with their offset, and ``null`` for a missing value. Whether it contains
production is told only by its name. The script's file has the ends of steps in local time, and lacks the second pass of
the autumn hour.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import chain
from typing import Any, Final

from worker.domain.files import cells, file_series
from worker.domain.files.cells import FileFault, FileSeries, Table, TableFormat, TableLine
from worker.domain.files.file_series import STEPS, IndexRow, Origin, StepRow
from worker.domain.series import Direction
from worker.domain.windows import ONE_DAY, PARIS, day_length

CURVE: Final = "enedis-site-curve"
DAYS: Final = "enedis-site-days"
EXTENSION: Final = "extension-history"
SCRIPT: Final = "script-curve"
HOUR: Final = "enedis-hour"
INDEX: Final = "enedis-index"
PRODUCTION_INDEX: Final = "enedis-production-index"
_MINUTE: Final = timedelta(minutes=1)
_TOTALS: Final = {Direction.CONSUMPTION: "eas t", Direction.PRODUCTION: "eai t"}
_SUPPLIER: Final = [f"eas f{number}" for number in range(1, 11)]
_DISTRIBUTOR: Final = [f"eas d{number}" for number in range(1, 5)]
_CURVES: Final = "courbe"
_INDEXES: Final = "index"
_END: Final = "horodate fin de pas"
_WATTS: Final = "puissance moyenne (w)"


def _read_curve(
    table: Table, unit: str = "valeur (en kw)", factor: int = 1000, name: str = CURVE
) -> Iterator[FileSeries]:
    rows = []
    for line in data_rows(table, ("debut", "fin", unit)):
        start, end = line.moment("debut"), line.moment("fin")
        rows.append(StepRow(end, _times(line.number_or_none(unit), factor), _minutes_between(line, start, end)))
    yield file_series.build_curve(_origin_of(table, name), rows)


def _read_script(table: Table) -> Iterator[FileSeries]:
    rows = [StepRow(line.moment(_END), line.number_or_none(_WATTS)) for line in data_rows(table, (_END, _WATTS))]
    yield file_series.build_curve(_origin_of(table, SCRIPT), rows)


def _read_days(table: Table, unit: str = "valeur (en kwh)", factor: int = 1000) -> Iterator[FileSeries]:
    rows: list[tuple[date, Decimal | None]] = []
    for line in data_rows(table, ("date", unit)):
        moment = line.moment("date")
        if (moment.hour, moment.minute) != (0, 0):
            line.fail("a day must have no time of day")
        rows.append((moment.date(), _times(line.number_or_none(unit), factor)))
    yield file_series.build_days(_origin_of(table, DAYS), rows)


def _times(value: Decimal | None, factor: int) -> Decimal | None:
    return None if value is None else value * factor


def data_rows(table: Table, columns: tuple[str, ...]) -> Iterator[TableLine]:
    """Yield the rows of data. Notes below them, which have a value only in the first of ``columns``, are left out."""
    note: TableLine | None = None
    rows = 0
    for line in table.rows(*columns):
        first, *others = (line.value(column) for column in columns)
        line.check_width()
        if not any(cell not in (None, "") for cell in others) and not _is_time(first):
            note = note or (line if rows else None)
            continue
        if note is not None:
            note.fail("neither a data row nor a note after the last one")
        rows += 1
        yield line
    if not rows:
        table.source.fail("has no row below its header", why=FileFault.EMPTY)


def _is_time(cell: Any) -> bool:
    """Return whether a cell is a date, a serial number of a day, or a text that begins like a date."""
    return isinstance(cell, date | float) or (isinstance(cell, str) and cell[:1].isdigit())


def _minutes_between(line: TableLine, start: datetime, end: datetime) -> int:
    """Return the length of a step in minutes, also if a clock change puts naive local times an hour off."""
    if (start.tzinfo is None) is not (end.tzinfo is None):
        line.fail("one of the two times has an offset, the other has none")
    length = end - start
    change = ONE_DAY - day_length(start.date())  # An hour in spring, minus an hour in autumn.
    candidates = {length, length - change} if start.tzinfo is None else {length}
    minutes = [step for step in STEPS if step * _MINUTE in candidates]
    if not minutes:
        line.fail("the step does not end 5, 10, 15, 30 or 60 minutes after it starts")
    return minutes[0]


def _origin_of(table: Table, format_name: str) -> Origin:
    """Return the origin of a table's series; meter and direction are above the header, or else in the file's name."""
    source = table.source
    usage_point = _find_usage_point(table) or cells.number_in_name(source.name)
    return Origin(source, format_name, usage_point, _direction_of(table), cells.time_in_name(source.name))


def _direction_of(table: Table) -> Direction:
    """Return the direction according to the sheet's name, a row above the header, or else the file's name."""
    for row in ([table.source.sheet], *(line.cells for line in reversed(table.above))):
        words = " ".join(cells.plain_name(cell) for cell in row if isinstance(cell, str))
        is_production, is_consumption = "production" in words, "consommation" in words
        if is_production is not is_consumption:
            return Direction.PRODUCTION if is_production else Direction.CONSUMPTION
    return Direction.PRODUCTION if cells.names_production(table.source.name) else Direction.CONSUMPTION


def _find_usage_point(table: Table) -> str | None:
    """Return the meter's number from the rows above the header; None if there is none.

    The number is in the cell with its label, or in the next cell that isn't empty.
    """
    for line in table.above:
        for place, cell in enumerate(line.cells):
            if not isinstance(cell, str) or not re.search(r"\bprm\b|point reference mesure", cells.plain_name(cell)):
                continue
            if match := cells.METER_NUMBER.search(cell):
                return match[0]
            number = next((cells.digits_of(other) for other in line.cells[place + 1 :] if other not in (None, "")), "")
            if number.isascii() and number.isdigit() and len(number) in (13, 14):
                return number.zfill(14)
    return None


@dataclass(frozen=True, slots=True)
class _Calendar:
    """What the columns of registers stand for, from the moment ``since`` on.

    ``periods``: for each column, the names of its calendar and tariff period.
    """

    since: datetime
    periods: Mapping[str, tuple[str, str]]


@dataclass(slots=True)
class _Block:
    """A part of a file: two lines about the meter, a header, rows and a footer."""

    usage_point: str | None = None
    direction: Direction | None = None
    kind: str = ""
    usual_step: int = 30
    header: TableLine | None = None
    steps: list[StepRow] = field(default_factory=list)
    indexes: list[TableLine] = field(default_factory=list)
    calendars: list[_Calendar] = field(default_factory=list)


def _read_blocks(table: Table) -> Iterator[FileSeries]:
    """Yield the series of a file's blocks, each read according to its header."""
    block = _Block()
    lines: Iterator[TableLine] = chain([table.header], table.below)
    rows = 0
    while (line := next(lines, None)) is not None:
        names = line.names()
        if "identifiant prm" in names and "type de donnees" in names:
            yield from _series_of(table, block)
            block = _read_head(line, names, next(lines, None))
        elif "horodate" in names:
            if block.header is not None:  # A new block begins, without the two lines about its meter.
                yield from _series_of(table, block)
                block = replace(block, header=None, steps=[], indexes=[], calendars=[])
            block.header = _check_header(line, names, block)
        elif cells.plain_name(str(line.cells[0])).startswith("periode"):
            later: list[TableLine] = []
            block.calendars = list(_read_footer(lines, names, later))
            if later:
                lines = chain(later, lines)
        else:
            rows += 1
            _add_row(line, block)
    if not rows:
        table.source.fail("has no row below its header", why=FileFault.EMPTY)
    yield from _series_of(table, block)


def _read_head(line: TableLine, names: Mapping[str, int], values: TableLine | None) -> _Block:
    line.need("identifiant prm", "type de donnees", "grandeur metier")
    if values is None:
        line.source.fail("ends after its first line")
    values = replace(values, columns=names)
    step = values.value("pas en minutes")
    unit = values.value("unite") or ""
    kind = cells.plain_name(values.text("type de donnees"))
    if kind.startswith(_CURVES) and unit not in ("", "W"):
        values.fail("the unit of a load curve must be W")
    if kind.startswith(_INDEXES) and unit not in ("", "Wh"):
        values.fail("the unit of indexes must be Wh")
    is_production = cells.plain_name(values.text("grandeur metier")).startswith("prod")
    return _Block(
        values.usage_point(),
        Direction.PRODUCTION if is_production else Direction.CONSUMPTION,
        kind,
        int(step) if str(step) in ("5", "10", "15", "30", "60") else 30,
    )


def _check_header(line: TableLine, names: dict[str, int], block: _Block) -> TableLine:
    if block.kind.startswith(_INDEXES) or not (block.kind or "valeur" in names):
        total = _TOTALS[block.direction or _direction_of_columns(line, names)]
        line.need("horodate", total)
    else:
        line.need("horodate", "valeur")
    return replace(line, columns=names)


def _direction_of_columns(line: TableLine, names: Mapping[str, int]) -> Direction:
    """Return the direction of a file without lines about its meter: from its columns, or else from its name."""
    is_production = "eas t" not in names if "eai t" in names else cells.names_production(line.source.name)
    return Direction.PRODUCTION if is_production else Direction.CONSUMPTION


def _add_row(line: TableLine, block: _Block) -> None:
    if not str(line.cells[0])[:1].isdigit() and not isinstance(line.cells[0], datetime):
        line.fail("neither a data row nor the footer, which begins with Periode")
    if block.header is None:
        line.fail("a data row before the line with the column names")
    line = replace(line, columns=block.header.columns)
    if "eas t" in line.columns or "eai t" in line.columns:
        block.indexes.append(line)
    elif not block.kind or block.kind.startswith(_CURVES):
        if any(line.cells[2:]) and block.steps:  # Only the first row may have a third field, as in some files.
            line.fail(f"has {len(line.cells)} columns, needs 2")
        block.steps.append(StepRow(line.moment("horodate"), line.number_or_none("valeur")))


def _read_footer(lines: Iterator[TableLine], names: Mapping[str, int], later: list[TableLine]) -> Iterator[_Calendar]:
    """Yield the calendars of a footer; the row after the footer, if any, is added to ``later``."""
    for line in lines:
        if not cells.plain_name(str(line.cells[0])).startswith("du "):
            later.append(line)
            return
        words = str(line.cells[0]).split()
        try:
            since = datetime.fromisoformat(words[1])
        except ValueError:
            line.fail("the footer must have a time like 2024-01-10T00:00:00+01:00")
        named = replace(line, cells=[*line.cells, *[""] * (len(names) - len(line.cells))], columns=names)
        yield _Calendar(since if since.tzinfo else since.replace(tzinfo=PARIS), dict(_name_registers(named)))


def _name_registers(line: TableLine) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the columns of registers in a row of the footer, each with the names of its calendar and tariff period."""
    for owner, suffix, number in (("fournisseur", "", 10), ("distributeur", "distributeur ", 4)):
        calendar = line.text(f"identifiant calendrier {owner}") or line.text(f"libelle calendrier {owner}")
        for place in range(1, number + 1):
            of_period = f"classe temporelle {suffix}{place}"
            period = line.text(f"identifiant {of_period}") or line.text(f"libelle {of_period}")
            if column := cells.plain_name(line.text(f"cadran {of_period}")):
                yield column, (calendar, period)


def _series_of(table: Table, block: _Block) -> Iterator[FileSeries]:
    source, name = table.source, table.source.name
    header = block.header
    if header is None or not (block.steps or block.indexes):
        return
    direction = block.direction or _direction_of_columns(header, header.columns)
    usage_point = block.usage_point or cells.number_in_name(name)
    format_name = PRODUCTION_INDEX if direction is Direction.PRODUCTION else INDEX
    origin = Origin(source, HOUR if block.steps else format_name, usage_point, direction, cells.time_in_name(name))
    if block.steps:
        yield file_series.build_curve(origin, block.steps, block.usual_step)
    else:
        rows, dropped = _to_index_rows(block, _TOTALS[direction])
        if rows:
            yield from file_series.build_registers(origin, rows, dropped)
        else:
            source.fail("has no index at midnight")


def _to_index_rows(block: _Block, total: str) -> tuple[list[IndexRow], int]:
    """Return the registers at each midnight, and the number of rows at other times.

    If two rows stand for the same midnight, the row labelled exactly 00:00 counts.
    """
    by_day: dict[object, tuple[bool, list[IndexRow]]] = {}
    dropped = 0
    for line in block.indexes:
        moment = line.moment("horodate")
        midnight = file_series.day_of_midnight(moment)
        if midnight is None:
            dropped += 1
            continue
        day, is_exact = midnight
        rows = [IndexRow(day, line.number_or_none(total))]
        if total == _TOTALS[Direction.CONSUMPTION]:
            names = _names_at(block, moment)
            rows += [
                IndexRow(day, value, *names[column])
                for column in (*_SUPPLIER, *_DISTRIBUTOR)
                if column in line.columns and column in names and (value := line.number_if_there(column)) is not None
            ]
        known = by_day.get(day)
        if known is None or is_exact or not known[0]:
            by_day[day] = is_exact, rows
    return [row for _, rows in by_day.values() for row in rows], dropped


def _names_at(block: _Block, moment: datetime) -> Mapping[str, tuple[str, str]]:
    """Return the calendar and the tariff period of each register at a moment, by column.

    If the block has no footer, only the supplier's registers are returned, without a calendar. The period is then the
    name of the register on the meter, such as F1.
    """
    if not block.calendars:
        return {column: ("", column.removeprefix("eas ").upper()) for column in _SUPPLIER}
    local = moment if moment.tzinfo else moment.replace(tzinfo=PARIS)
    begun = [calendar for calendar in block.calendars if calendar.since <= local]
    named = max(begun, key=lambda calendar: calendar.since).periods if begun else {}
    return {column: names for column, names in named.items() if names[1]}


FORMATS: Final = (
    TableFormat(HOUR, frozenset({"identifiant prm", "type de donnees"}), _read_blocks),
    TableFormat(HOUR, frozenset({"horodate", "valeur"}), _read_blocks),
    TableFormat(INDEX, frozenset({"horodate", "eas t"}), _read_blocks),
    TableFormat(PRODUCTION_INDEX, frozenset({"horodate", "eai t"}), _read_blocks),
    TableFormat(INDEX, frozenset({"horodate", "type de releve"}), _read_blocks),
    TableFormat(CURVE, frozenset({"debut", "fin", "valeur (en kw)"}), _read_curve),
    TableFormat(
        CURVE, frozenset({"debut", "fin", "valeur (en w)"}), partial(_read_curve, unit="valeur (en w)", factor=1)
    ),
    TableFormat(DAYS, frozenset({"date", "valeur (en kwh)"}), _read_days),
    TableFormat(DAYS, frozenset({"date", "valeur (en wh)"}), partial(_read_days, unit="valeur (en wh)", factor=1)),
    TableFormat(EXTENSION, frozenset({"debut", "fin", "kw"}), partial(_read_curve, unit="kw", name=EXTENSION)),
    TableFormat(SCRIPT, frozenset({_END, _WATTS}), _read_script),
)
