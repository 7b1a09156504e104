"""The workbooks of GRDF's customer site: daily gas readings. Workbooks with weeks or months are refused.

    Données informatives et détaillées | | | Export du 24/11/2021
                                       | N° PCE : | 1234567890123
    Date de relevé | Index de début de période (m3) | Index de fin… | Volume consommé (m3) | Energie consommée (kWh) | …
    24/11/2020     | 12163                          | 12175         | 12                   | 133                     | …

The sheet is always called "Historique par mois". A PCE (the number of a delivery point) that is stored as a number has
lost its leading zeros. The row with the address is dropped. Numbers and qualities are converted to the form of GRDF's
API, so that the parser of its answers can read them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final, NoReturn

from worker.domain.files import cells
from worker.domain.files.cells import FileFault, FileSeries, Table, TableFormat, TableLine, digits_of, plain_name
from worker.domain.files.enedis_site import data_rows
from worker.domain.files.file_series import Origin
from worker.domain.parsing.gas import parse_gas_days
from worker.domain.series import daily_of
from worker.domain.windows import ONE_DAY, PARIS, local_midnight

DAYS: Final = "grdf-days"
_DAY: Final = "date de releve"
_ENERGY: Final = "energie consommee (kwh)"
_VOLUME: Final = "volume consomme (m3)"
_COEFFICIENT: Final = "coefficient de conversion"
_QUALITY: Final = "qualification du releve"
_FIRST_INDEX: Final = "index de debut de periode (m3)"
_LAST_INDEX: Final = "index de fin de periode (m3)"
_PCE: Final = re.compile(r"[0-9]{1,14}|GI[0-9]{6}", re.ASCII)
_WEEK: Final = re.compile(r"du\b.*\bau\b")
_MONTH: Final = re.compile(r"[a-z]+\.? ?[0-9]{4}")
_EXPORTED: Final = re.compile(r"\bexport du ([0-9]{2})/([0-9]{2})/([0-9]{4})\b")


def _read(table: Table) -> Iterator[FileSeries]:
    records, days = [], []
    for line in data_rows(table, (_DAY, _ENERGY)):
        label = line.value(_DAY)
        if isinstance(label, str) and (_WEEK.match(plain_name(label)) or _MONTH.fullmatch(plain_name(label))):
            _refuse(table)
        days.append(line.moment(_DAY).date())
        records.append(_to_record(line))
    origin = Origin(
        table.source, DAYS, _find_pce(table) or cells.number_in_name(table.source.name), exported_at=_find_time(table)
    )
    parsed = parse_gas_days({"records": records})
    empty = len(records) - len(parsed.readings)
    ends = [local_midnight(reading.start.date() + ONE_DAY) for reading in parsed.readings]
    yield origin.series(
        daily_of(supplier="grdf"), parsed, ends or [local_midnight(day + ONE_DAY) for day in days], dropped=empty
    )


def _refuse(table: Table) -> NoReturn:
    table.source.fail("has weeks or months of gas instead of days: download it by day", why=FileFault.NO_DAYS)


def _to_record(line: TableLine) -> dict[str, Any]:
    day = line.moment(_DAY).date()
    quality = line.value(_QUALITY)
    return {
        "releve_debut": {"index_brut_debut": {"valeur_index": _number(line, _FIRST_INDEX)}},
        "releve_fin": {"index_brut_fin": {"valeur_index": _number(line, _LAST_INDEX)}},
        "consommation": {
            "journee_gaziere": day.isoformat(),
            "energie": _number(line, _ENERGY),
            "volume_brut": _number(line, _VOLUME),
            "coeff_calcul": {"coeff_conversion": _number(line, _COEFFICIENT)},
            "type_qualif_conso": str(quality) if quality else None,
        },
    }


def _number(line: TableLine, column: str) -> str | None:
    value = line.number_if_there(column)
    return None if value is None else format(value, "f")


def _find_pce(table: Table) -> str | None:
    """Return the number of the delivery point, which follows its label, with leading zeros; None if there is none."""
    for line in table.above:
        for place, cell in enumerate(line.cells):
            if isinstance(cell, str) and "pce" in plain_name(cell).replace(".", "").split():
                values = [digits_of(other).upper() for other in line.cells[place + 1 :] if other not in (None, "")]
                number = values[0] if values else plain_name(cell).rpartition(":")[2].strip().upper()
                if _PCE.fullmatch(number):
                    return number if number.startswith("GI") else number.zfill(14)
    return None


def _find_time(table: Table) -> datetime | None:
    """Return the first instant of the day of the export; None if the workbook doesn't tell this day.

    With the first instant, an answer that is requested on the same day counts as later than the file.
    """
    match = _EXPORTED.search(table.words_above())
    try:
        return datetime(int(match[3]), int(match[2]), int(match[1]), tzinfo=PARIS) if match else None
    except ValueError:
        return None


FORMATS: Final = (
    TableFormat(DAYS, frozenset({_DAY, _ENERGY, _FIRST_INDEX}), _read),
    TableFormat(DAYS, frozenset({_DAY, _ENERGY, _QUALITY}), _read),
    TableFormat(DAYS, frozenset({_DAY, _ENERGY}), _refuse),
)
