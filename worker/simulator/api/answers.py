"""Bodies of the measure answers: rows of values and labels, and the JSON of v4 and v5 and of Data Connect 2026.

Source of the JSON of 2026: Enedis, swagger of "Mesure synchrone auto" v2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import ONE_DAY
from worker.simulator.api.requests import MeasureQuery
from worker.simulator.homes.dst_labels import relabel
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import Direction, MeasureKind, Number, Point

_BUSINESS_QUANTITIES: Final = {Direction.CONSUMPTION: "CONS", Direction.PRODUCTION: "PROD"}
_PHYSICAL_QUANTITIES: Final = {
    MeasureKind.LOAD_CURVE: ("PA", "W"),
    MeasureKind.DAILY: ("EA", "Wh"),
    MeasureKind.MAX_POWER: ("PMA", "VA"),
}
_HEAD_FIELDS: Final[Mapping[MeasureKind, Mapping[str, str]]] = {
    MeasureKind.LOAD_CURVE: {"modeCalcul": "MESURE"},
    MeasureKind.DAILY: {"typeValeur": "GLOBALE", "modeCalcul": "DIFF.INDEX", "pas": "P1D"},
    MeasureKind.MAX_POWER: {"typeValeur": "GLOBALE", "modeCalcul": "MESURE", "pas": "P1D"},
}
_VOLT_AMPERES_OF_WATTS: Final = 1.15  # The peak within a half-hour is above its mean.


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One value and its label, as text; only points of the curve have ``minutes`` and quality marks."""

    value: str | None
    label: str
    minutes: int = 0
    marks: tuple[str, str, str] = ("B", "0", "0")


def read_rows(meter: Meter, query: MeasureQuery, direction: Direction | None = None) -> list[AnswerRow]:
    """Return the rows of the days asked for, damaged as the meter's switches say; none where nothing is published."""
    direction, switches = direction or query.resource.direction, meter.switches
    days = [query.start + rank * ONE_DAY for rank in range((query.end - query.start).days)]
    if query.resource.kind is MeasureKind.DAILY:
        rows = [AnswerRow(_to_text(wh), str(day)) for day in days if (wh := meter.daily(direction, day)) is not None]
    elif query.resource.kind is MeasureKind.LOAD_CURVE:
        rows = [
            AnswerRow(_to_text(point.watts), point.label, point.minutes, (point.nature, point.likelihood, point.state))
            for day in days
            for point in relabel(switches.dst_labels, day, meter.curve(direction, day))
        ]
    else:
        rows = [_peak_row(points) for day in days if (points := meter.curve(direction, day))]
    if every := switches.null_every:
        rows[every - 1 :: every] = [replace(row, value=switches.null_text) for row in rows[every - 1 :: every]]
    if switches.shuffled:
        Random(f"{query.start}").shuffle(rows)
    return rows


def _to_text(number: Number) -> str:
    """Return a number as Enedis sends it: text, without a decimal point where it is whole."""
    return str(int(number)) if number == int(number) else str(number)


def _peak_row(points: Sequence[Point]) -> AnswerRow:
    """Return the highest power of a day in VA, at a moment within a half-hour."""
    highest = max(points, key=lambda point: point.watts)
    moment = datetime.fromisoformat(highest.label) - timedelta(minutes=7, seconds=int(highest.watts) % 60)
    return AnswerRow(_to_text(round(highest.watts * _VOLT_AMPERES_OF_WATTS)), str(moment))


def to_body_2026(
    query: MeasureQuery, quantities: Mapping[Direction, Sequence[AnswerRow]], quality: str, without_marks: bool
) -> Json:
    """Return a measure answer of Data Connect 2026; ``quality`` is ``BRUT`` or ``BEST``."""
    physical_quantity, unit = _PHYSICAL_QUANTITIES[query.resource.kind]
    return {
        "idPrm": query.usage_point,
        "etapeMetier": quality,
        "periode": {"dateDebut": query.start.isoformat(), "dateFin": query.end.isoformat()},
        **_HEAD_FIELDS[query.resource.kind],
        "grandeur": [
            {
                "grandeurMetier": _BUSINESS_QUANTITIES[direction],
                "grandeurPhysique": physical_quantity,
                "unite": unit,
                "points": [_point_2026(row, without_marks) for row in rows],
                "calendrier": [],
            }
            for direction, rows in quantities.items()
        ],
        "contexte": [],
    }


def _point_2026(row: AnswerRow, without_marks: bool) -> Json:
    value = "null" if row.value is None else row.value
    if not row.minutes:
        return {"v": value, "d": row.label}
    point = {"v": value, "d": row.label, "p": f"PT{row.minutes}M"}
    if without_marks:
        return point
    nature, likelihood, state = row.marks
    return point | {"n": nature, "iv": likelihood, "ec": state}


def to_index_body(query: MeasureQuery, indexes: Sequence[tuple[str, Number]]) -> Json:
    """Return the index at each midnight in whole Wh.

    No recorded answer is known, so the body follows the swagger alone.
    """
    values = [{"d": f"{day} 00:00:00", "v": int(wh), "iv": 0} for day, wh in indexes]
    business_quantity = _BUSINESS_QUANTITIES[query.resource.direction]
    quantity = {
        "grandeurMetier": business_quantity,
        "grandeurPhysique": "EA",
        "unite": "Wh",
        "calendrier": [],
        "cadranTotalisateur": {"valeur": values},
    }
    return {
        "idPrm": query.usage_point,
        "periode": {"dateDebut": query.start.isoformat(), "dateFin": query.end.isoformat()},
        "grandeur": [],
        "contexte": [
            {
                "etapeMetier": "BRUT",
                "contexteReleve": "COL",
                "typeReleve": "AQ",
                "grandeur": [quantity],
            }
        ],
    }


_READING_TYPES: Final = {
    MeasureKind.LOAD_CURVE: {"unit": "W", "measurement_kind": "power", "aggregate": "average"},
    MeasureKind.DAILY: {"unit": "Wh", "measurement_kind": "energy", "aggregate": "sum", "measuring_period": "P1D"},
    MeasureKind.MAX_POWER: {
        "unit": "VA",
        "measurement_kind": "power",
        "aggregate": "maximum",
        "measuring_period": "P1D",
    },
}


def to_body_v5(query: MeasureQuery, rows: Sequence[AnswerRow], quality: str) -> Json:
    """Return a measure answer of v4 and v5, which share one body."""
    return {
        "meter_reading": {
            "usage_point_id": query.usage_point,
            "start": query.start.isoformat(),
            "end": query.end.isoformat(),
            "quality": quality,
            "reading_type": _READING_TYPES[query.resource.kind],
            "interval_reading": [_row_v5(row) for row in rows],
        }
    }


def _row_v5(row: AnswerRow) -> Json:
    if not row.minutes:
        return {"value": row.value, "date": row.label}
    return {
        "value": row.value,
        "date": row.label,
        "interval_length": f"PT{row.minutes}M",
        "measure_type": row.marks[0],
    }
