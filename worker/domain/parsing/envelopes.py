"""The envelopes of Enedis answers, opened to their points; the shape of an answer shows its generation.

========================= =============================================================
v4, v5                    ``meter_reading.interval_reading[] {value, date, interval_length}``
older list under          ``usage_point[].meter_reading.interval_reading[] {value, rank}``, rank 1 is the
``usage_point``           first step after midnight of ``start``; also with ``date``
2026                      ``grandeur[].points[] {v, d, p}``, the item picked by what it measures and by the
                          direction of the energy
========================= =============================================================

So no answer is misread while an account moves from one generation to the next. Nothing in an answer of v4 or v5 tells
production from consumption: the question does. Source: the Enedis swaggers of Data Connect v5 (v4 has the same JSON)
and of "mesure synchrone auto" v2 (2026). The older list is that of the v3 API.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from worker.domain.measures.answers import Json
from worker.domain.measures.series import Direction, Quantity, Series
from worker.errors import WrongMeter, WrongShape, WrongUnit

ROOTS_2026: Final = ("grandeur", "idPrm", "periode")
NAMES_OF_DIRECTIONS_2026: Final = {Direction.CONSUMPTION: "CONS", Direction.PRODUCTION: "PROD"}


class MeasuredQuantity(NamedTuple):
    """What an answer says that it measures; ``kind`` and ``aggregate`` are optional fields of v4 and v5."""

    unit: str
    kind: str
    aggregate: str
    name_2026: str


QUANTITIES: Final = {
    Quantity.ENERGY: MeasuredQuantity("Wh", "energy", "sum", "EA"),
    Quantity.POWER: MeasuredQuantity("W", "power", "average", "PA"),
    # 2026 has the three phases of a meter beside it, as PMA1 to PMA3.
    Quantity.APPARENT_POWER: MeasuredQuantity("VA", "power", "maximum", "PMA"),
}


class RawRow(NamedTuple):
    """One point as sent. ``rank`` counts steps from ``origin`` if there is no label."""

    value: Json
    label: Json
    step: Json
    rank: Json = None
    origin: Json = None


def open_envelope(payload: Json, series: Series) -> list[RawRow]:
    """Return the points of an answer, in its own order. Raises MalformedAnswer on any other shape or unit."""
    if not isinstance(payload, dict):
        raise WrongShape("the answer is not a JSON object of measures")
    if any(root in payload for root in ROOTS_2026):
        return list(_rows_2026(payload, series))
    if "meter_reading" in payload:
        return list(_rows_of_meter_reading(payload["meter_reading"], series))
    if "interval_reading" in payload:  # Some gateways relay it without its envelope.
        return list(_rows_of_meter_reading(payload, series))
    if "usage_point" in payload:
        return list(_rows_of_usage_points(payload["usage_point"], series))
    raise WrongShape("the answer has none of the known forms of measures")


def _rows_of_meter_reading(meter_reading: Json, series: Series) -> Iterator[RawRow]:
    if not isinstance(meter_reading, dict):
        raise WrongShape("meter_reading is not an object")
    reading_type = meter_reading.get("reading_type") or {}
    if not isinstance(reading_type, dict):
        raise WrongShape("reading_type is not an object")
    _check_unit(reading_type.get("unit"), series)
    _check_kind(reading_type, series)
    default_step = reading_type.get("interval_length")
    for row in list_of_objects(meter_reading.get("interval_reading"), "interval_reading"):
        yield RawRow(
            value=row.get("value"),
            label=row.get("date"),
            step=row.get("interval_length") or default_step,
            rank=row.get("rank"),
            origin=meter_reading.get("start"),
        )


def _rows_of_usage_points(usage_points: Json, series: Series) -> Iterator[RawRow]:
    usage_point_list = [usage_points] if isinstance(usage_points, dict) else usage_points
    entries = list_of_objects(usage_point_list, "usage_point")
    if len({str(entry.get("usage_point_id")) for entry in entries}) > 1:
        raise WrongMeter("the answer mixes several meters")
    for entry in entries:
        yield from _rows_of_meter_reading(entry.get("meter_reading"), series)


def _rows_2026(payload: dict[str, Json], series: Series) -> Iterator[RawRow]:
    for item in pick_quantities_2026(payload.get("grandeur"), series):
        for point in list_of_objects(item.get("points"), "points"):
            yield RawRow(value=point.get("v"), label=point.get("d"), step=point.get("p"))


def pick_quantities_2026(raw: Json, series: Series) -> Iterator[dict[str, Json]]:
    """Yield the items of a ``grandeur`` list that are this series'; the other ones are the same meter's other series.

    Raises MalformedAnswer on another shape or unit.
    """
    described = series.description
    for item in list_of_objects(raw, "grandeur"):
        if item.get("grandeurMetier") != NAMES_OF_DIRECTIONS_2026[described.direction]:
            continue
        if item.get("grandeurPhysique") == QUANTITIES[described.quantity].name_2026:
            _check_unit(item.get("unite"), series)
            yield item


def _check_unit(unit: Json, series: Series) -> None:
    """Check the unit, if there is one: to read W as Wh would double every half-hour. Raises WrongUnit."""
    if unit is not None and unit != (expected := QUANTITIES[series.description.quantity].unit):
        raise WrongUnit(f"the unit of {series.value} is not {expected}")


def _check_kind(reading_type: dict[str, Json], series: Series) -> None:
    """Check the optional kind and aggregate: a day's maximum power has the same shape. Raises WrongUnit."""
    quantity = QUANTITIES[series.description.quantity]
    for name, expected in (("measurement_kind", quantity.kind), ("aggregate", quantity.aggregate)):
        if reading_type.get(name) not in (None, expected):
            raise WrongUnit(f"the {name} of {series.value} is not {expected}")


def list_of_objects(raw: Json, name: str) -> list[dict[str, Json]]:
    """Return ``raw`` as a list; absent or null is empty, because suppliers leave empty lists out."""
    if raw is None:
        return []
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise WrongShape(f"{name} is not a list of objects")
    return raw
