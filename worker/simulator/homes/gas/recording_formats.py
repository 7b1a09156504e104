"""Readers of recorded gas: plain tables of gas days and of billed periods.  An error names the file and the line.

The number of the meter is the beginning of the file's name.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Final

from worker.domain.files.tables import TableLine
from worker.domain.measures.readings import ONE_DAY
from worker.simulator.homes.gas.readings import ABSENT, CORRECTED, ESTIMATED, MEASURED, GasReading
from worker.simulator.homes.recording_formats import RecordedFile, read_table

_FACTS: Final = ("index_start", "index_end", "volume_m3", "energy_kwh", "coefficient", "quality")
_QUALITIES: Final = (MEASURED, ESTIMATED, CORRECTED, ABSENT)


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
