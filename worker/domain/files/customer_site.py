"""The files of Enedis' customer site since 2025, as workbooks and as the CSV that people save of them.

    Point Référence Mesure (PRM) :  | 99000000000011 | Type de comptage :  | Consommation Quotidienne
    Date       | Valeur (en kWh)
    01/01/2025 | 6.329
    03/01/2025 | NA

    Début               | Fin                 | Valeur (en kW)
    26/10/2025 02:30:00 | 26/10/2025 02:00:00 | 0,412

The header stands anywhere, its columns too. Times are texts, dates of the workbook or serial numbers of days, in local
time; start and end together tell the length of a step, the order of the rows tells the two passes of the autumn hour.
Below the data there may be notes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from worker.domain.files.file_series import FileFault, FileSeries
from worker.domain.files.names import names_production, number_in_name, time_in_name
from worker.domain.files.series_builders import Origin, StepRow, build_curve, build_days
from worker.domain.files.steps import STEPS
from worker.domain.files.tables import Table, TableFormat, TableLine, digits_of, plain_name
from worker.domain.measures.readings import day_length
from worker.domain.measures.series import Direction

CURVE: Final = "enedis-site-curve"
DAYS: Final = "enedis-site-days"
_KILO: Final = 1000
_DAY: Final = timedelta(hours=24)
_MINUTE: Final = timedelta(minutes=1)
_NUMBER: Final = re.compile(r"(?<![0-9])[0-9]{14}(?![0-9])", re.ASCII)


def _read_curve(table: Table, unit: str = "valeur (en kw)", factor: int = _KILO) -> Iterator[FileSeries]:
    rows = []
    for line in data_rows(table, ("debut", "fin", unit)):
        start, end = line.moment("debut"), line.moment("fin")
        rows.append(StepRow(end, _times(line.number_or_none(unit), factor), minutes_between(line, start, end)))
    yield build_curve(origin_of(table, CURVE), rows)


def _read_curve_in_watts(table: Table) -> Iterator[FileSeries]:
    return _read_curve(table, "valeur (en w)", 1)


def _read_days(table: Table, unit: str = "valeur (en kwh)", factor: int = _KILO) -> Iterator[FileSeries]:
    rows: list[tuple[date, Decimal | None]] = []
    for line in data_rows(table, ("date", unit)):
        moment = line.moment("date")
        if (moment.hour, moment.minute) != (0, 0):
            line.fail("a day must have no time of day")
        rows.append((moment.date(), _times(line.number_or_none(unit), factor)))
    yield build_days(origin_of(table, DAYS), rows)


def _read_days_in_watt_hours(table: Table) -> Iterator[FileSeries]:
    return _read_days(table, "valeur (en wh)", 1)


def _times(value: Decimal | None, factor: int) -> Decimal | None:
    return None if value is None else value * factor


def data_rows(table: Table, columns: tuple[str, ...]) -> Iterator[TableLine]:
    """Yield the rows of data; what stands below them without any value in these columns but the first is a note."""
    note: TableLine | None = None
    rows = 0
    for line in table.rows(*columns):
        cells = [line.value(column) for column in columns]
        line.check_width()
        if not any(cell not in (None, "") for cell in cells[1:]) and not is_time(cells[0]):
            note = note or (line if rows else None)
            continue
        if note is not None:
            note.fail("neither a data row nor a note after the last one")
        rows += 1
        yield line
    if not rows:
        table.source.fail("has no row below its header", why=FileFault.EMPTY)


def is_time(cell: Any) -> bool:
    """Return whether a cell begins as a date does."""
    return isinstance(cell, date | float) or (isinstance(cell, str) and cell[:1].isdigit())


def minutes_between(line: TableLine, start: datetime, end: datetime) -> int:
    """Return the length of a step in minutes; local times across a clock change are an hour apart from it."""
    if (start.tzinfo is None) is not (end.tzinfo is None):
        line.fail("one of the two times has an offset, the other has none")
    length = end - start
    change = _DAY - day_length(start.date())  # An hour in spring, less than nothing in autumn.
    candidates = {length, length - change} if start.tzinfo is None else {length}
    minutes = [step for step in STEPS if step * _MINUTE in candidates]
    if not minutes:
        line.fail("the step does not end 5, 10, 15, 30 or 60 minutes after it starts")
    return minutes[0]


def origin_of(table: Table, format_name: str) -> Origin:
    """Return where a table's series come from: meter and direction from above its header, else from the name."""
    source = table.source
    usage_point = find_usage_point(table) or number_in_name(source.name)
    return Origin(source, format_name, usage_point, direction_of(table), time_in_name(source.name))


def direction_of(table: Table) -> Direction:
    """Return the direction that the sheet's name, a row above the header, or at last the name of the file says."""
    rows = [[table.source.sheet], *(line.cells for line in reversed(table.above))]
    for cells in rows:
        words = " ".join(plain_name(cell) for cell in cells if isinstance(cell, str))
        is_production, is_consumption = "production" in words, "consommation" in words
        if is_production is not is_consumption:
            return Direction.PRODUCTION if is_production else Direction.CONSUMPTION
    return Direction.PRODUCTION if names_production(table.source.name) else Direction.CONSUMPTION


def find_usage_point(table: Table) -> str | None:
    """Return the meter's number from above the header: in a cell that names it, or in the next one that isn't empty."""
    for line in table.above:
        for place, cell in enumerate(line.cells):
            if not isinstance(cell, str) or not re.search(r"\bprm\b|point reference mesure", plain_name(cell)):
                continue
            if match := _NUMBER.search(cell):
                return match[0]
            number = next((digits_of(other) for other in line.cells[place + 1 :] if other not in (None, "")), "")
            if number.isascii() and number.isdigit() and len(number) in (13, 14):
                return number.zfill(14)
    return None


FORMATS: Final = (
    TableFormat(CURVE, frozenset({"debut", "fin", "valeur (en kw)"}), _read_curve),
    TableFormat(CURVE, frozenset({"debut", "fin", "valeur (en w)"}), _read_curve_in_watts),
    TableFormat(DAYS, frozenset({"date", "valeur (en kwh)"}), _read_days),
    TableFormat(DAYS, frozenset({"date", "valeur (en wh)"}), _read_days_in_watt_hours),
)
