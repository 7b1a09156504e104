"""Expected shapes of an Enedis answer of measures, for each series and all generations of the API.

========================= =============================================================
v4, v5                    ``meter_reading.interval_reading[]``; gateways also send it without its envelope
older list under          ``usage_point[].meter_reading.interval_reading[]``
``usage_point``
2026                      ``grandeur[].points[]``
========================= =============================================================

Source: the Enedis swaggers of Data Connect v5 (v4 has the same JSON) and of "mesure synchrone auto" v2 (2026), and
recorded answers.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

from worker.domain.measures.answer_shapes import (
    AnswerShape,
    DeviationKind,
    ListShape,
    ObjectShape,
    Shape,
    UnreadShape,
    ValueShape,
)
from worker.domain.measures.readings import Series
from worker.domain.parsing.values import parse_step_minutes


def _one_of_texts(*known: str, odd: DeviationKind = DeviationKind.CODE) -> ValueShape:
    return ValueShape(known_texts=frozenset(known), deviation_kind=odd)


_TEXT_OR_NUMBER: Final = (str, int, float, type(None))
_DAY: Final = r"20\d\d-\d\d-\d\d"
_DATE: Final = ValueShape(pattern=re.compile(rf"\s*{_DAY}(?:[T ]\d\d:\d\d.{{0,16}})?\s*", re.ASCII))
_VALUE: Final = ValueShape(_TEXT_OR_NUMBER, re.compile(r"\s*(?:-?\d{1,12}(?:\.\d{0,12})?|null|)\s*", re.ASCII))
_STEP: Final = ValueShape(_TEXT_OR_NUMBER, accepts=lambda value: parse_step_minutes(value) is not None)
_ONE_DAY_STEP: Final = _one_of_texts("", "P1D", "86400")
# Data Connect has only sent B (raw) so far. The other letters are those of sibling Enedis services (R63, R64).
_NATURES: Final = _one_of_texts(*"BRHECKPSTFGD")


def _meter_reading(series: Series) -> dict[str, Shape]:
    daily = series is Series.DAILY
    step = _ONE_DAY_STEP if daily else _STEP
    return {
        "usage_point_id": ValueShape(),
        "start": _DATE,
        "end": _DATE,
        "quality": _one_of_texts("BRUT"),
        "reading_type": ObjectShape(
            {
                "unit": _one_of_texts("Wh" if daily else "W", odd=DeviationKind.UNIT),
                "measurement_kind": _one_of_texts("energy" if daily else "power", odd=DeviationKind.UNIT),
                "aggregate": _one_of_texts("sum" if daily else "average", odd=DeviationKind.UNIT),
                "measuring_period": _one_of_texts("P1D"),
                "interval_length": step,
            }
        ),
        "interval_reading": ListShape(
            {
                "value": _VALUE,
                "date": _DATE,
                "interval_length": step,
                "measure_type": _one_of_texts("B"),
                "rank": ValueShape(_TEXT_OR_NUMBER),
            },
            needed=True,
        ),
    }


def _answer_2026(series: Series) -> dict[str, Shape]:
    daily = series is Series.DAILY
    points = ListShape(
        {
            "v": _VALUE,
            "d": _DATE,
            "p": _ONE_DAY_STEP if daily else _STEP,
            "n": _NATURES,
            "iv": ValueShape(_TEXT_OR_NUMBER),
            "ec": ValueShape(_TEXT_OR_NUMBER),
        }
    )
    return {
        "idPrm": ValueShape(),
        "etapeMetier": _one_of_texts("BRUT", "BEST"),
        "periode": ObjectShape({"dateDebut": _DATE, "dateFin": _DATE}),
        "typeValeur": _one_of_texts("GLOBALE"),
        "modeCalcul": _one_of_texts("MESURE", "DIFF.INDEX", "INTEG.COURBE"),
        "pas": _one_of_texts("P1D", "PT5M", "PT10M", "PT15M", "PT30M", "PT60M"),
        "contexte": UnreadShape(),
        "grandeur": ListShape(
            {
                "grandeurMetier": _one_of_texts("CONS", "PROD"),
                "grandeurPhysique": _one_of_texts("EA" if daily else "PA", odd=DeviationKind.UNIT),
                "unite": _one_of_texts("Wh" if daily else "W", odd=DeviationKind.UNIT),
                "calendrier": UnreadShape(),
                "points": points,
            }
        ),
    }


def _answers(series: Series) -> Sequence[AnswerShape]:
    """Return the shapes in the order in which ``parsing.envelopes.open_envelope`` tries them."""
    meter_reading = _meter_reading(series)
    usage_point: dict[str, Shape] = {
        "usage_point_id": ValueShape(),
        "meter_reading": ObjectShape(meter_reading, needed=True),
    }
    # The oldest answers have a single usage point without its list.
    usage_points = ListShape(usage_point, may_be_single=True, common=("usage_point_id", "several meters"))
    return (
        AnswerShape(("grandeur", "idPrm", "periode"), _answer_2026(series)),
        AnswerShape(("meter_reading",), {"meter_reading": ObjectShape(meter_reading, needed=True)}),
        AnswerShape(("interval_reading",), meter_reading),
        AnswerShape(("usage_point",), {"usage_point": usage_points}),
    )


ANSWER_SHAPES: Final[Mapping[Series, Sequence[AnswerShape]]] = {series: _answers(series) for series in Series}
