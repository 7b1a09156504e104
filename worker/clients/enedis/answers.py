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
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from worker.clients.answer_shapes import AnswerPart, AnswerShape, check_scalar
from worker.domain.measures.answers import Json
from worker.domain.measures.deviations import DeviationKind
from worker.domain.measures.series import Series
from worker.domain.parsing.labels import parse_step_minutes

_VALUE: Final = re.compile(r"\s*(?:-?\d{1,12}(?:\.\d{0,12})?|null|)\s*", re.ASCII)


def _is_step(value: Json) -> bool:
    return parse_step_minutes(value) is not None


def _is_one_day(value: Json) -> bool:
    return value in (None, "", "P1D", "86400")


def _unit(known: str) -> AfterValidator:
    return check_scalar(lambda value: value is None or value == known, DeviationKind.UNIT)


_Date = Annotated[str, Field(pattern=r"^\s*20[0-9]{2}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}.{0,16})?\s*$")] | None
_Value = Annotated[Any, check_scalar(lambda value: not isinstance(value, str) or bool(_VALUE.fullmatch(value)))]
_Scalar = Annotated[Any, check_scalar(lambda value: True)]
# Data Connect has only sent B (raw) so far. The other letters are those of sibling Enedis services (R63, R64).
_Nature = Literal["B", "R", "H", "E", "C", "K", "P", "S", "T", "F", "G", "D"] | None


def _data_connect(series: Series) -> Sequence[AnswerShape]:
    """Return the shapes of v4, v5 and older answers."""
    daily = series is Series.DAILY
    step = check_scalar(_is_one_day if daily else _is_step, DeviationKind.CODE)

    class _ReadingType(AnswerPart):
        unit: Annotated[Any, _unit("Wh" if daily else "W")] = None
        measurement_kind: Annotated[Any, _unit("energy" if daily else "power")] = None
        aggregate: Annotated[Any, _unit("sum" if daily else "average")] = None
        measuring_period: Literal["P1D"] | None = None
        interval_length: Annotated[Any, step] = None

    class _Interval(AnswerPart):
        value: _Value = None
        date: _Date = None
        interval_length: Annotated[Any, step] = None
        measure_type: Literal["B"] | None = None
        rank: _Scalar = None

    class _MeterReading(AnswerPart):
        usage_point_id: str | None = None
        start: _Date = None
        end: _Date = None
        quality: Literal["BRUT"] | None = None
        reading_type: _ReadingType | None = None
        interval_reading: list[_Interval]

    class _Envelope(AnswerPart):
        meter_reading: _MeterReading

    class _UsagePoint(_Envelope):
        usage_point_id: str | None = None

    class _UsagePoints(AnswerPart):
        # The oldest answers have a single usage point without its list.
        usage_point: Annotated[list[_UsagePoint] | None, BeforeValidator(_to_list), AfterValidator(_check_same_meter)]

    return (
        AnswerShape(("meter_reading",), _Envelope),
        AnswerShape(("interval_reading",), _MeterReading),
        AnswerShape(("usage_point",), _UsagePoints),
    )


def _to_list(value: Json) -> Json:
    return [value] if isinstance(value, dict) else value


def _check_same_meter(usage_points: Any) -> Any:
    if len({point.usage_point_id for point in usage_points or ()}) > 1:
        raise PydanticCustomError(DeviationKind.SHAPE.value, "several meters")
    return usage_points


def _answer_2026(series: Series) -> AnswerShape:
    daily = series is Series.DAILY
    step = check_scalar(_is_one_day if daily else _is_step, DeviationKind.CODE)

    class _Point(AnswerPart):
        v: _Value = None
        d: _Date = None
        p: Annotated[Any, step] = None
        n: _Nature = None
        iv: _Scalar = None
        ec: _Scalar = None

    class _Quantity(AnswerPart):
        grandeurMetier: Literal["CONS", "PROD"] | None = None
        grandeurPhysique: Annotated[Any, _unit("EA" if daily else "PA")] = None
        unite: Annotated[Any, _unit("Wh" if daily else "W")] = None
        calendrier: Any = None
        points: list[_Point] | None = None

    class _Span(AnswerPart):
        dateDebut: _Date = None
        dateFin: _Date = None

    class _Answer(AnswerPart):
        idPrm: str | None = None
        etapeMetier: Literal["BRUT", "BEST"] | None = None
        periode: _Span | None = None
        typeValeur: Literal["GLOBALE"] | None = None
        modeCalcul: Literal["MESURE", "DIFF.INDEX", "INTEG.COURBE"] | None = None
        pas: Literal["P1D", "PT5M", "PT10M", "PT15M", "PT30M", "PT60M"] | None = None
        contexte: Any = None
        grandeur: list[_Quantity] | None = None

    return AnswerShape(("grandeur", "idPrm", "periode"), _Answer)


# The order is that in which ``parsing.enedis.open_envelope`` tries them.
ANSWER_SHAPES: Final[Mapping[Series, Sequence[AnswerShape]]] = {
    series: (_answer_2026(series), *_data_connect(series)) for series in Series
}
