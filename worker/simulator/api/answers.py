"""Measures and indexes as the generation of 2026 sends them (upstream-apis, 1.12)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from worker.domain.measures.answers import Json
from worker.simulator.answers import Row
from worker.simulator.api.requests import Question
from worker.simulator.homes.series import Direction, Kind, Number

_TRADES: Final = {Direction.CONSUMPTION: "CONS", Direction.PRODUCTION: "PROD"}
_QUANTITIES: Final = {Kind.LOAD_CURVE: ("PA", "W"), Kind.DAILY: ("EA", "Wh"), Kind.MAX_POWER: ("PMA", "VA")}
_HEADS: Final[Mapping[Kind, Mapping[str, str]]] = {
    Kind.LOAD_CURVE: {"modeCalcul": "MESURE"},
    Kind.DAILY: {"typeValeur": "GLOBALE", "modeCalcul": "DIFF.INDEX", "pas": "P1D"},
    Kind.MAX_POWER: {"typeValeur": "GLOBALE", "modeCalcul": "MESURE", "pas": "P1D"},
}


class Quantity(NamedTuple):
    """One item of ``grandeur``: what flowed in one direction."""

    direction: Direction
    rows: Sequence[Row]


def body_2026(question: Question, quantities: Sequence[Quantity], quality: str, without_marks: bool) -> Json:
    return {
        "idPrm": question.usage_point,
        "etapeMetier": quality,
        "periode": {"dateDebut": question.start.isoformat(), "dateFin": question.end.isoformat()},
        **_HEADS[question.resource.kind],
        "grandeur": [_quantity(question.resource.kind, each, without_marks) for each in quantities],
        "contexte": [],
    }


def _quantity(kind: Kind, quantity: Quantity, without_marks: bool) -> Json:
    name, unit = _QUANTITIES[kind]
    return {
        "grandeurMetier": _TRADES[quantity.direction],
        "grandeurPhysique": name,
        "unite": unit,
        "points": [_point(row, without_marks) for row in quantity.rows],
        "calendrier": [],
    }


def _point(row: Row, without_marks: bool) -> Json:
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
