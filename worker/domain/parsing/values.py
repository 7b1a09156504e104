"""Shared code of all parsers: values of points, the envelopes of Enedis answers, and the result of a parser.

Points are extracted from the envelope of the answer. The envelope's shape shows the generation of the supplier's API,
so no answer is misread while an account moves from one generation to the next:

========================= =============================================================
v4, v5                    ``meter_reading.interval_reading[] {value, date, interval_length}``
older list under          ``usage_point[].meter_reading.interval_reading[] {value, rank}``, rank 1 is the
``usage_point``           first step after midnight of ``start``; points may also have a ``date``
2026                      ``grandeur[].points[] {v, d, p}``; the item is selected by its quantity and by the
                          direction of the energy
========================= =============================================================

An answer of v4 or v5 doesn't show whether it is production or consumption; only the request does. Source: the Enedis
swaggers of Data Connect v5 (v4 has the same JSON) and of "mesure synchrone auto" v2 (2026). The older list is that of
the v3 API.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_UP, Decimal, InvalidOperation
from typing import Final, NamedTuple

from worker.domain.answers import Json, parse_text
from worker.domain.series import Direction, Quantity, Series
from worker.domain.windows import DateWindow, IntervalReading, civil_date
from worker.errors import WrongMeter, WrongShape, WrongUnit

ROOTS_2026: Final = ("grandeur", "idPrm", "periode")
NAMES_OF_DIRECTIONS_2026: Final = {Direction.CONSUMPTION: "CONS", Direction.PRODUCTION: "PROD"}
_NUMBER = re.compile(r"[+-]?\d{1,12}(\.\d{0,12})?", re.ASCII)  # No exponent, no "NaN", no endless digits.
_LARGEST: Final = Decimal(10**9)  # No connection draws a gigawatt, so a larger value is an error.
_DECIMAL: Final = re.compile(r"[+-]?\d{1,30}(\.\d{0,60})?(e[+-]?\d{1,2})?", re.ASCII | re.IGNORECASE)
_DATE: Final = re.compile(r"(20\d\d|19\d\d)-\d\d-\d\d(?:[+-]\d\d:?\d\d|Z)?", re.ASCII)


class MeasuredQuantity(NamedTuple):
    """How answers name a quantity; ``kind`` and ``aggregate`` are optional fields of v4 and v5."""

    unit: str
    kind: str
    aggregate: str
    name_2026: str


QUANTITIES: Final = {
    Quantity.ENERGY: MeasuredQuantity("Wh", "energy", "sum", "EA"),
    Quantity.POWER: MeasuredQuantity("W", "power", "average", "PA"),
    # Answers of 2026 also have the three phases of a meter, as PMA1 to PMA3.
    Quantity.APPARENT_POWER: MeasuredQuantity("VA", "power", "maximum", "PMA"),
}


class RawRow(NamedTuple):
    """One point as sent. ``rank`` counts steps from ``origin`` if there is no label."""

    value: Json
    label: Json
    step: Json
    rank: Json = None
    origin: Json = None


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The readings of one answer in time order, each step once, and the numbers of points left out.

    ``dropped``: points with an unusable value, date or step. ``differing``: points repeated with another value; the
    last value counts. ``left_out``: points replaced by another point of the answer, such as a later step that overlaps
    them, or a higher maximum power of the same day.
    """

    readings: Sequence[IntervalReading]
    dropped: int = 0
    differing: int = 0
    left_out: int = 0

    def clip_to(self, window: DateWindow, *, reaching_in: bool = False) -> ParsedAnswer:
        """Return only the readings that begin in the requested window; all others are counted as dropped.

        ``reaching_in``: whether readings that begin before the window and reach into it stay too.
        """
        start, _ = window.instants()
        inside = [
            reading
            for reading in self.readings
            if reading.start.date() in window
            or (reaching_in and reading.start < start < reading.start.astimezone(UTC) + reading.length)
        ]
        return ParsedAnswer(inside, self.dropped + len(self.readings) - len(inside), self.differing, self.left_out)


def parse_number(raw: Json) -> Decimal | None:
    """Parse a number from zero to below a billion, sent as a number or as text; return None for anything else.

    Rejects null, empty texts, words, exponents in texts, booleans, NaN, infinity and negative numbers (-1 and -2 are
    suppliers' markers).
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    text = raw.strip() if isinstance(raw, str) else _digits_of_number(raw)
    if not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    return abs(number) if 0 <= number < _LARGEST else None


def parse_decimal(raw: Json) -> Decimal | None:
    """Parse a finite number of zero or more with all its digits, even if it has an exponent; None for anything else."""
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    # ``repr`` returns the shortest text of a float, which is the number as sent.
    text = raw.strip() if isinstance(raw, str) else repr(raw) if isinstance(raw, float) else _digits_of_number(raw)
    try:
        number = Decimal(text) if _DECIMAL.fullmatch(text) else None
    except InvalidOperation:
        return None
    return abs(number) if number is not None and 0 <= number < _LARGEST else None


def _digits_of_number(number: int | float) -> str:
    """Return the digits of a JSON number; empty if it is out of range."""
    if isinstance(number, int):
        # Python refuses to write an integer of more than 4300 digits, so the number is compared first.
        return str(number) if -1 <= number < _LARGEST else ""
    # A tiny negative number such as -1e-7 would be written "-0.000000" and accepted as zero.
    return format(number, "f") if number >= 0 else ""


def to_energy(raw: Json, minutes: int) -> int | None:
    """Convert a raw mean power over a step to milliwatt-hours, rounded half up: Wh = W x minutes / 60.

    A raw energy in watt-hours is converted like a power over 60 minutes. None if ``raw`` isn't a number.
    """
    number = parse_number(raw)
    return None if number is None else to_whole(number * minutes * 1000 / 60)


def to_thousandths(raw: Json) -> int | None:
    """Convert a raw value to whole thousandths of its unit, rounded half up; None if it isn't a number."""
    number = parse_number(raw)
    return None if number is None else to_whole(number * 1000)


def to_whole(number: Decimal) -> int:
    """Round to a whole number, half up."""
    return int(number.quantize(Decimal(1), ROUND_HALF_UP))


def parse_date(raw: Json) -> str | None:
    """Return the day of a date or of a moment as ``YYYY-MM-DD``; None for anything else.

    The offset of a date is ignored; a moment with an offset is converted to Europe/Paris.
    """
    text = parse_text(raw) or ""
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text[:10]).isoformat()
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if not 1900 < moment.year < 9999:
        return None
    return (civil_date(moment) if moment.tzinfo else moment.date()).isoformat()


def to_plain(text: str) -> str:
    """Return a text in lower case without accents, with straight quotes and single spaces, to compare words."""
    letters = unicodedata.normalize("NFKD", text.replace("\u2019", "'"))
    return " ".join("".join(letter for letter in letters if not unicodedata.combining(letter)).casefold().split())


def open_envelope(payload: Json, series: Series) -> list[RawRow]:
    """Return the points in the order of the answer. Raises MalformedAnswer for an unknown shape or a wrong unit."""
    if not isinstance(payload, dict):
        raise WrongShape("the answer is not a JSON object of measures")
    if any(root in payload for root in ROOTS_2026):
        return list(_rows_2026(payload, series))
    if "meter_reading" in payload or "interval_reading" in payload:  # Some gateways drop the envelope.
        return list(_rows_of_meter_reading(payload.get("meter_reading", payload), series))
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
    """Yield the items of a ``grandeur`` list that have the direction and the quantity of this series.

    Raises MalformedAnswer for an unknown shape or a wrong unit.
    """
    described = series.description
    for item in list_of_objects(raw, "grandeur"):
        if item.get("grandeurMetier") != NAMES_OF_DIRECTIONS_2026[described.direction]:
            continue
        if item.get("grandeurPhysique") == QUANTITIES[described.quantity].name_2026:
            _check_unit(item.get("unite"), series)
            yield item


def _check_unit(unit: Json, series: Series) -> None:
    """Raise WrongUnit if the answer names a wrong unit: W read as Wh would double the energy of each half-hour."""
    if unit is not None and unit != (expected := QUANTITIES[series.description.quantity].unit):
        raise WrongUnit(f"the unit of {series.value} is not {expected}")


def _check_kind(reading_type: dict[str, Json], series: Series) -> None:
    """Raise WrongUnit if the answer names another kind or aggregate; the shape of the answer shows neither of them."""
    quantity = QUANTITIES[series.description.quantity]
    for name, expected in (("measurement_kind", quantity.kind), ("aggregate", quantity.aggregate)):
        if reading_type.get(name) not in (None, expected):
            raise WrongUnit(f"the {name} of {series.value} is not {expected}")


def list_of_objects(raw: Json, name: str) -> list[dict[str, Json]]:
    """Return ``raw`` if it is a list of objects, or an empty list for None. Raises WrongShape for anything else."""
    if raw is None:
        return []
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise WrongShape(f"{name} is not a list of objects")
    return raw
