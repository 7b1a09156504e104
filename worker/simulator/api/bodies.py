"""Bodies of the measure answers of all generations.

Source of the JSON of 2026: Enedis, swagger of "Mesure synchrone auto" v2; of the registers' stamps, codes and calendars
in it, answers of the sibling service SGE and Enedis' index files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.series import Direction, Series
from worker.simulator.api.requests import MeasureQuery, SeriesEndpoint
from worker.simulator.homes.contracts import Contract
from worker.simulator.homes.registers import RegisterReading

# Value, stamp, and of a curve's points length, nature, likelihood and state.
Row = tuple[str, ...]

_POWER: Final = {"unit": "W", "measurement_kind": "power", "aggregate": "average"}
_ENERGY: Final = {"unit": "Wh", "measurement_kind": "energy", "aggregate": "sum", "measuring_period": "P1D"}
_READING_TYPES: Final = {
    Series.LOAD_CURVE: _POWER,
    Series.DAILY: _ENERGY,
    Series.PRODUCTION_LOAD_CURVE: _POWER,
    Series.PRODUCTION_DAILY: _ENERGY,
    Series.MAX_POWER: {
        "unit": "VA",
        "measurement_kind": "power",
        "aggregate": "maximum",
        "measuring_period": "P1D",
    },
}
# Names of a row's fields: a value of a day has the first two; v4 and v5 leave out two of the quality marks.
_FIELDS_V5: Final = ("value", "date", "interval_length", "measure_type")
_FIELDS_2026: Final = ("v", "d", "p", "n", "iv", "ec")
_PHYSICAL_QUANTITIES: Final = {"W": ("PA", "W"), "Wh": ("EA", "Wh"), "VA": ("PMA", "VA")}
_HEADS_2026: Final[Mapping[str, Mapping[str, str]]] = {
    "W": {"modeCalcul": "MESURE"},
    "Wh": {"typeValeur": "GLOBALE", "modeCalcul": "DIFF.INDEX", "pas": "P1D"},
    "VA": {"modeCalcul": "MESURE", "pas": "P1D"},
}
_DIRECTIONS_2026: Final = {Direction.CONSUMPTION: "CONS", Direction.PRODUCTION: "PROD"}
_REGISTER_CODES: Final = {Direction.CONSUMPTION: "IDX_EAS", Direction.PRODUCTION: "IDX_EAI"}
_DISTRIBUTOR_CALENDAR: Final = ("DI000001", "Sans différenciation temporelle")


def to_body_v5(query: MeasureQuery, rows: Sequence[Row]) -> Json:
    """Return a measure answer of v4 and v5, which share one body; nothing in it tells production."""
    return {
        "meter_reading": {
            "usage_point_id": query.usage_point,
            "start": query.start.isoformat(),
            "end": query.end.isoformat(),
            "quality": "BRUT",
            "reading_type": _READING_TYPES[query.resource.measure.series],
            "interval_reading": _name_fields(_FIELDS_V5, rows),
        }
    }


def to_body_2026(query: MeasureQuery, rows: Sequence[Row]) -> Json:
    """Return a measure answer of 2026; the pretend homes have one phase, so no quantity beside it."""
    measure = query.resource.measure
    physical_quantity, unit = _PHYSICAL_QUANTITIES[measure.series.description.quantity.unit]
    step = {"pas": query.further["mesuresPas"]} if "mesuresPas" in query.further else {}
    return {
        **_head_2026(query),
        "etapeMetier": "BRUT",
        **_HEADS_2026[measure.series.description.quantity.unit],
        **step,
        "grandeur": [
            {
                **_quantity_2026(measure, physical_quantity, unit),
                "points": _name_fields(_FIELDS_2026, rows),
                "calendrier": [],
            }
        ],
        "contexte": [],
    }


def to_index_body(query: MeasureQuery, readings: Sequence[tuple[date, RegisterReading]]) -> Json:
    """Return an answer of registers: a list of values for each register of each calendar, and for the total.

    A meter of production has the total alone, as in Enedis' files.
    """
    measure = query.resource.measure
    code = _REGISTER_CODES[measure.direction]
    total = [_index(day, reading.total) for day, reading in readings]
    quantity = {
        **_quantity_2026(measure, "EA", "Wh"),
        "points": [],
        "calendrier": _calendars(code, readings, total),
        "cadranTotalisateur": {"codeCadran": f"{code}_T", "valeur": total},
    }
    context = {"etapeMetier": "BRUT", "contexteReleve": "COL", "typeReleve": "AQ", "grandeur": [quantity]}
    return {**_head_2026(query), "grandeur": [], "contexte": [context]}


def _calendars(code: str, readings: Sequence[tuple[date, RegisterReading]], total: list[Json]) -> list[Json]:
    """Return the calendars that were in force, and the distributor's, whose one register is the total."""
    contracts = [contract for _, reading in readings if (contract := reading.contract) is not None]
    if not contracts:
        return []
    number, label = _DISTRIBUTOR_CALENDAR
    register = _register("BASE", "Base", f"{code}_D1", total)
    in_force = {contract.tariff: contract for contract in contracts}.values()
    return [
        *(_calendar(contract, code, readings) for contract in in_force),
        {"idCalendrier": number, "libelleCalendrier": label, "classeTemporelle": [register]},
    ]


def _calendar(contract: Contract, code: str, readings: Sequence[tuple[date, RegisterReading]]) -> Json:
    days = [(day, one.registers) for day, one in readings if one.contract and one.contract.tariff is contract.tariff]
    registers = [
        _register(name, label, f"{code}_F{rank + 1}", [_index(day, values[rank]) for day, values in days])
        for rank, (name, label) in enumerate(contract.calendar.periods)
    ]
    number, label = contract.calendar.number, contract.calendar.label
    return {"idCalendrier": number, "libelleCalendrier": label, "classeTemporelle": registers}


def _register(name: str, label: str, code: str, values: list[Json]) -> Json:
    return {"idClasseTemporelle": name, "libelleClasseTemporelle": label, "codeCadran": code, "valeur": values}


def _index(day: date, wh: int) -> Json:
    """Return an index, stamped with the midnight that begins the day."""
    return {"d": f"{day} 00:00:00", "v": wh, "iv": 0}


def _head_2026(query: MeasureQuery) -> dict[str, Json]:
    period = {"dateDebut": query.start.isoformat(), "dateFin": query.end.isoformat()}
    return {"idPrm": query.usage_point, "periode": period}


def _quantity_2026(measure: SeriesEndpoint, physical_quantity: str, unit: str) -> dict[str, Json]:
    direction = _DIRECTIONS_2026[measure.direction]
    return {"grandeurMetier": direction, "grandeurPhysique": physical_quantity, "unite": unit}


def _name_fields(names: Sequence[str], rows: Sequence[Row]) -> list[Json]:
    return [dict(zip(names, row, strict=False)) for row in rows]
