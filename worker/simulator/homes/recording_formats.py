"""Readers of recorded series: our two plain CSV formats, and Enedis' own exports as ``worker.domain.files`` reads them.

An error names the file and the line.
"""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from worker.domain.files.file_series import FileRefused, FileSeries
from worker.domain.files.reading import read_file
from worker.domain.files.sources import Source, open_bounded, read_lines
from worker.domain.files.tables import TableLine, split_lines
from worker.domain.measures.amounts import MILLIWATT_HOURS_PER_WH
from worker.domain.measures.readings import IntervalReading
from worker.domain.measures.series import Direction
from worker.errors import DataError
from worker.simulator.homes.gas.readings import GasReading
from worker.simulator.homes.series import Number, to_label

_GZIP: Final = b"\x1f\x8b"


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
    """Series of one file: rows of a load curve, or Wh by day; ``production``: of what the meter feeds in.

    ``gas``: gas days, or billed periods where ``has_periods``; None where it is none of gas.
    """

    usage_point: str
    production: bool = False
    rows: Sequence[RecordedRow] = ()
    days: Mapping[date, Number] = field(default_factory=dict)
    gas: Sequence[GasReading] | None = None
    has_periods: bool = False


def read_curve(path: Path) -> Iterator[RecordedFile]:
    """Read a plain load curve.  Raises FileRefused, as all readers do.

    Example: ``date_end_local,watts``, then ``2024-01-31 00:30:00,420``.
    """
    rows = [
        RecordedRow(line.moment("date_end_local", is_iso=True), to_number(line.number_or_none("watts")))
        for line in read_table(path, "date_end_local", "watts")
    ]
    yield RecordedFile(path.name[:14], rows=rows)


def read_daily(path: Path) -> Iterator[RecordedFile]:
    """Read plain daily values; a day with an empty value has none.

    Example: ``date,wh``, then ``2024-01-31,12345``.
    """
    days = {}
    for line in read_table(path, "date", "wh"):
        value = to_number(line.number_or_none("wh"))
        if value is not None:
            days[line.moment("date", is_iso=True).date()] = value
    yield RecordedFile(path.name[:14], days=days)


def read_export(path: Path) -> Iterator[RecordedFile]:
    """Read the curves and days of an export; of an index, the days between its midnights."""
    with path.open("rb") as content:
        for series in read_file(path.name, content):
            if series.usage_point is None:
                raise FileRefused(f"{series.file}: it has no meter's number")
            production = series.series.description.direction is Direction.PRODUCTION
            if series.series.has_steps:
                yield RecordedFile(series.usage_point, production, rows=list(_rows_of(series)))
            elif series.series.is_daily_energy:
                days = {reading.start.date(): _to_watt_hours(reading) for reading in series.readings}
                yield RecordedFile(series.usage_point, production, days=days)


def _rows_of(series: FileSeries) -> Iterator[RecordedRow]:
    for reading in series.readings:
        minutes, end = reading.length // timedelta(minutes=1), reading.start.astimezone(UTC) + reading.length
        watts = round(Decimal(reading.amount * 60) / (minutes * MILLIWATT_HOURS_PER_WH), 1)  # As it was recorded.
        yield RecordedRow(end, to_number(watts), minutes, series.marks.get(to_label(end), ()))


def _to_watt_hours(reading: IntervalReading) -> Number:
    return to_number(Decimal(reading.amount) / MILLIWATT_HOURS_PER_WH) or 0


def to_number(value: Decimal | None) -> Number | None:
    """Return a number as an int where it is whole; None for none."""
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)


def read_table(path: Path, *needed: str) -> Iterator[TableLine]:
    """Yield the lines of a plain table with these columns, separated by commas.  Raises FileRefused."""
    source = Source.of(path.name)
    with path.open("rb") as content:
        is_packed = content.read(2) == _GZIP
        content.seek(0)
        unpacked = cast(BinaryIO, gzip.GzipFile(fileobj=content)) if is_packed else content
        lines = split_lines(read_lines(open_bounded(unpacked, source), source), source, ",")
        header = next(lines, TableLine(source, 1, ()))
        header.need(*needed)
        columns = header.names()
        for line in lines:
            yield TableLine(source, line.number, line.cells, columns)
