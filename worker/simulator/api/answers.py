"""Measures and indexes as the generation of 2026 sends them (upstream-apis, 1.12)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random
from typing import Final, NamedTuple

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import ONE_DAY
from worker.simulator.api.requests import Question
from worker.simulator.homes.dst_labels import relabel
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import Direction, MeasureKind, Number, Point

_TRADES: Final = {Direction.CONSUMPTION: "CONS", Direction.PRODUCTION: "PROD"}
_QUANTITIES: Final = {
    MeasureKind.LOAD_CURVE: ("PA", "W"),
    MeasureKind.DAILY: ("EA", "Wh"),
    MeasureKind.MAX_POWER: ("PMA", "VA"),
}
_HEADS: Final[Mapping[MeasureKind, Mapping[str, str]]] = {
    MeasureKind.LOAD_CURVE: {"modeCalcul": "MESURE"},
    MeasureKind.DAILY: {"typeValeur": "GLOBALE", "modeCalcul": "DIFF.INDEX", "pas": "P1D"},
    MeasureKind.MAX_POWER: {"typeValeur": "GLOBALE", "modeCalcul": "MESURE", "pas": "P1D"},
}


class Quantity(NamedTuple):
    """One item of ``grandeur``: what flowed in one direction."""

    direction: Direction
    rows: Sequence[AnswerRow]


def body_2026(question: Question, quantities: Sequence[Quantity], quality: str, without_marks: bool) -> Json:
    return {
        "idPrm": question.usage_point,
        "etapeMetier": quality,
        "periode": {"dateDebut": question.start.isoformat(), "dateFin": question.end.isoformat()},
        **_HEADS[question.resource.kind],
        "grandeur": [_quantity(question.resource.kind, each, without_marks) for each in quantities],
        "contexte": [],
    }


def _quantity(kind: MeasureKind, quantity: Quantity, without_marks: bool) -> Json:
    name, unit = _QUANTITIES[kind]
    return {
        "grandeurMetier": _TRADES[quantity.direction],
        "grandeurPhysique": name,
        "unite": unit,
        "points": [_point(row, without_marks) for row in quantity.rows],
        "calendrier": [],
    }


def _point(row: AnswerRow, without_marks: bool) -> Json:
    value = "null" if row.value is None else row.value
    if not row.minutes:
        return {"v": value, "d": row.label}
    point = {"v": value, "d": row.label, "p": f"PT{row.minutes}M"}
    if without_marks:
        return point
    nature, likelihood, state = row.marks
    return point | {"n": nature, "iv": likelihood, "ec": state}


def index_body(question: Question, indexes: Sequence[tuple[str, Number]]) -> Json:
    """Registers of each midnight, whole numbers; no recorded body is known, so this follows the swagger alone."""
    values = [{"d": f"{day} 00:00:00", "v": int(wh), "iv": 0} for day, wh in indexes]
    trade = _TRADES[question.resource.direction]
    quantity = {
        "grandeurMetier": trade,
        "grandeurPhysique": "EA",
        "unite": "Wh",
        "calendrier": [],
        "cadranTotalisateur": {"valeur": values},
    }
    return {
        "idPrm": question.usage_point,
        "periode": {"dateDebut": question.start.isoformat(), "dateFin": question.end.isoformat()},
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


# What an answer of measures carries, before it takes the form of one generation.

_VOLT_AMPERES_OF_WATTS: Final = 1.15  # a peak within a half-hour is above its mean


@dataclass(frozen=True, slots=True)
class AnswerRow:
    """One value with its label, as text; ``minutes`` and marks with points of the curve alone."""

    value: str | None
    label: str
    minutes: int = 0
    marks: tuple[str, str, str] = ("B", "0", "0")


def rows_of(meter: Meter, question: Question, direction: Direction | None = None) -> list[AnswerRow]:
    """The rows for the days asked for, spoilt as the meter's switches say; empty where nothing is published."""
    asked = direction or question.resource.direction
    days = _days(question)
    if question.resource.kind is MeasureKind.DAILY:
        rows = [AnswerRow(text(wh), str(day)) for day in days if (wh := meter.daily(asked, day)) is not None]
    elif question.resource.kind is MeasureKind.LOAD_CURVE:
        rows = [_to_row(point) for day in days for point in _labelled(meter, asked, day)]
    else:
        rows = [peak for day in days if (peak := _peak(meter, asked, day)) is not None]
    return _spoilt(meter, question, rows)


def text(number: Number) -> str:
    """As Enedis sends it: text, whole where it is whole."""
    return str(int(number)) if number == int(number) else str(number)


def _days(question: Question) -> Iterator[date]:
    day = question.start
    while day < question.end:
        yield day
        day += ONE_DAY


def _labelled(meter: Meter, direction: Direction, day: date) -> list[Point]:
    return relabel(meter.switches.dst_labels, day, meter.curve(direction, day))


def _to_row(point: Point) -> AnswerRow:
    return AnswerRow(text(point.watts), point.label, point.minutes, (point.nature, point.likelihood, point.state))


def _peak(meter: Meter, direction: Direction, day: date) -> AnswerRow | None:
    """The day's highest power in VA, at a moment that is on no grid."""
    points = meter.curve(direction, day)
    if not points:
        return None
    highest = max(points, key=lambda point: point.watts)
    moment = datetime.fromisoformat(highest.label) - timedelta(minutes=7, seconds=int(highest.watts) % 60)
    return AnswerRow(text(round(highest.watts * _VOLT_AMPERES_OF_WATTS)), str(moment))


def _spoilt(meter: Meter, question: Question, rows: list[AnswerRow]) -> list[AnswerRow]:
    switches = meter.switches
    if switches.null_every:
        rows = [
            AnswerRow(switches.null_text, row.label, row.minutes, row.marks) if rank % switches.null_every == 0 else row
            for rank, row in enumerate(rows, start=1)
        ]
    if switches.shuffled:
        Random(f"{question.start}").shuffle(rows)
    return rows


# Measures as v4 and v5 send them (upstream-apis, 1.6).

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


def body_v5(question: Question, rows: Sequence[AnswerRow], quality: str) -> Json:
    return {
        "meter_reading": {
            "usage_point_id": question.usage_point,
            "start": question.start.isoformat(),
            "end": question.end.isoformat(),
            "quality": quality,
            "reading_type": _READING_TYPES[question.resource.kind],
            "interval_reading": [_row(row) for row in rows],
        }
    }


def _row(row: AnswerRow) -> Json:
    if not row.minutes:
        return {"value": row.value, "date": row.label}
    return {
        "value": row.value,
        "date": row.label,
        "interval_length": f"PT{row.minutes}M",
        "measure_type": row.marks[0],
    }
