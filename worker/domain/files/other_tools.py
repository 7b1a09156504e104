"""The files that other people's tools make of Enedis' customer site.

    debut;fin;kW                                                       a browser's extension (October 2025)
    2025-10-01T00:00:00+02:00;2025-10-01T00:30:00+02:00;"0,412"

    Courbe de charge Linky (pas 30 min) - PRM 99000000000011           a script beside a simulator of prices (July 2026)
    Horodate fin de pas;Puissance moyenne (W)
    2026-07-13T23:00:00;420

The first tells start and end with their offset, ``null`` is a missing value; whether it is production, its name tells
alone. The second has end labels in local time, of which the second pass of the autumn hour is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from worker.domain.files.customer_site import data_rows, minutes_between, origin_of
from worker.domain.files.file_series import FileSeries
from worker.domain.files.series_builders import StepRow, build_curve
from worker.domain.files.tables import Table, TableFormat

EXTENSION: Final = "extension-history"
SCRIPT: Final = "script-curve"
_END: Final = "horodate fin de pas"
_WATTS: Final = "puissance moyenne (w)"


def _read_extension(table: Table) -> Iterator[FileSeries]:
    rows = []
    for line in data_rows(table, ("debut", "fin", "kw")):
        start, end, power = line.moment("debut"), line.moment("fin"), line.number_or_none("kw")
        rows.append(StepRow(end, None if power is None else power * 1000, minutes_between(line, start, end)))
    yield build_curve(origin_of(table, EXTENSION), rows)


def _read_script(table: Table) -> Iterator[FileSeries]:
    rows = [StepRow(line.moment(_END), line.number_or_none(_WATTS)) for line in data_rows(table, (_END, _WATTS))]
    yield build_curve(origin_of(table, SCRIPT), rows)


FORMATS: Final = (
    TableFormat(EXTENSION, frozenset({"debut", "fin", "kw"}), _read_extension),
    TableFormat(SCRIPT, frozenset({_END, _WATTS}), _read_script),
)
