"""Readers of recorded series, by the names of their files: our plain CSV formats, and Enedis' own exports.

Exports are read as ``worker.domain.files`` reads them; gas has plain tables of gas days and of billed periods. The
number of the meter is the beginning of a file's name. An error names the file and the line. A name without a
reader is reported, with only the last four digits of a meter number.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from simulator.electricity_homes import Number, to_label
from simulator.gas_homes import ABSENT, CORRECTED, ESTIMATED, MEASURED, GasReading
from worker.domain.documents import MILLIWATT_HOURS_PER_WH
from worker.domain.files import read_file
from worker.domain.files.cells import FileRefused, FileSeries, Source, TableLine, open_bounded, read_lines, split_lines
from worker.domain.series import Direction
from worker.domain.windows import ONE_DAY, IntervalReading
from worker.errors import DataError

_GZIP: Final = b"\x1f\x8b"
_FACTS: Final = ("index_start", "index_end", "volume_m3", "energy_kwh", "coefficient", "quality")
_QUALITIES: Final = (MEASURED, ESTIMATED, CORRECTED, ABSENT)
_PCES: Final = ("[0-9]" * 14, "gi" + "[0-9]" * 6)
NAMES: Final = (
    "<14 digits>.daily.csv (date,wh), <14 digits>.load_curve.csv (date_end_local,watts), <PCE>.gas_daily.csv "
    "(gas_day,…), <PCE>.gas_published.csv (start,end,…), or as Enedis names its "
    "downloads: Enedis_Conso_Heure_*.csv, Enedis_Conso_Jour_*.csv, Enedis_Prod_Jour_*.csv, ENEDIS_R63*.csv; "
    "with or without .gz"
)
_COMPRESSED: Final = (".zip", ".7z", ".bz2", ".xz", ".zst", ".tar", ".tgz")
_SPREADSHEETS: Final = (".xlsx", ".xls", ".ods")
_PLAIN_SERIES: Final = re.compile(r"(?P<meter>.*?)[._ -]?(?P<series>gas_daily|gas_published|daily|load_curve)\.csv")


class BrokenRecording(DataError):
    """Recorded file that can't be used; the text names file and line."""


class RecordedRow(NamedTuple):
    """Row of a recorded curve.

    ``end`` is naive local time or has an offset; ``watts`` is None if the source is empty; ``minutes`` is None
    if the source does not state the step.
    """

    end: datetime
    watts: Number | None
    minutes: int | None = None
    marks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RecordedFile:
    """Series of one file: rows of a load curve, or Wh by day; ``production``: of what the meter feeds in.

    ``gas``: gas days, or billed periods if ``has_periods``; None if it is none of gas.
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
    """Return a number as an int if it is whole; None for none."""
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


def read_gas_days(path: Path) -> Iterator[RecordedFile]:
    """Read gas days; an empty number is none.  Raises FileRefused.

    Example: ``gas_day,index_start,index_end,volume_m3,energy_kwh,coefficient,quality``, then
    ``2024-01-15,1204,1207,3,33,11.16,Mesuré``.
    """
    days = [_to_day(line) for line in read_table(path, "gas_day", *_FACTS)]
    yield RecordedFile(_pce_of(path), gas=days)


def read_gas_periods(path: Path) -> Iterator[RecordedFile]:
    """Read billed periods, from the morning of ``start`` to that of ``end``.  Raises FileRefused.

    Example: ``start,end,index_start,…``, then ``2024-01-03,2024-02-01,1170,1430,260,2902,11.16,Mesuré``.
    """
    periods = [_to_period(line) for line in read_table(path, "start", "end", *_FACTS)]
    yield RecordedFile(_pce_of(path), gas=periods, has_periods=True)


def _to_day(line: TableLine) -> GasReading:
    day = line.moment("gas_day", is_iso=True).date()
    return _to_reading(line, day, day + ONE_DAY)


def _to_period(line: TableLine) -> GasReading:
    start, end = line.moment("start", is_iso=True).date(), line.moment("end", is_iso=True).date()
    if start >= end:
        line.fail("a period must end after it starts")
    return _to_reading(line, start, end)


def _to_reading(line: TableLine, start: date, end: date) -> GasReading:
    quality = line.cell("quality")
    if quality not in _QUALITIES:
        line.fail(f"quality must be one of {', '.join(_QUALITIES)}")
    return GasReading(
        start,
        end,
        energy=line.number_or_none("energy_kwh"),
        volume=line.number_or_none("volume_m3"),
        coefficient=line.number_or_none("coefficient"),
        index_start=line.number_or_none("index_start"),
        index_end=line.number_or_none("index_end"),
        quality=quality,
    )


def _pce_of(path: Path) -> str:
    return path.name.partition(".")[0].upper()


_READERS: Final[Mapping[str, Callable[[Path], Iterator[RecordedFile]]]] = {
    "[0-9]" * 14 + ".load_curve.csv": read_curve,
    "[0-9]" * 14 + ".daily.csv": read_daily,
    "enedis_conso_heure_*.csv": read_export,
    "enedis_conso_jour_*.csv": read_export,
    "enedis_prod_jour_*.csv": read_export,
    "enedis_r63*.csv": read_export,
    **{f"{pce}.gas_daily.csv": read_gas_days for pce in _PCES},
    **{f"{pce}.gas_published.csv": read_gas_periods for pce in _PCES},
}


def reader_of(path: Path) -> Callable[[Path], Iterator[RecordedFile]] | None:
    """Return the reader of a file with this name; None for a name that is none of a recording."""
    name = Path(_plain_name(path))
    return next((reader for pattern, reader in _READERS.items() if name.match(pattern)), None)


def advice_for(path: Path) -> str:
    """Return why a file or folder without a reader is skipped, and what to do so that it is read."""
    if path.is_dir():
        return "a folder is not searched: move its files up"
    name = _plain_name(path)
    if name.startswith("."):
        return "a hidden file"
    if name.endswith(_COMPRESSED):
        return "only .gz files are unpacked: unpack it yourself"
    if name.endswith(_SPREADSHEETS):
        return "a spreadsheet is not supported: save its days as <14 digits>.daily.csv, with the columns date,wh"
    plain = _PLAIN_SERIES.fullmatch(name)
    if plain is None:
        return f"not the name of a recording: name it {NAMES}"
    has_wrong_number = plain["meter"].isdigit() and len(plain["meter"]) != 14
    is_gas = plain["series"].startswith("gas_")
    number = "a PCE has 14 digits, or GI and 6 digits" if is_gas else "a meter's number has 14 digits"
    reason = number if has_wrong_number else "not the name of a recording"
    ending = f".{plain['series']}.csv{'.gz' if path.suffix.lower() == '.gz' else ''}"
    return f"{reason}: name it <{'PCE' if is_gas else '14 digits'}>{ending}"


def _plain_name(path: Path) -> str:
    return path.name.lower().removesuffix(".gz")
