"""The parser of Enedis answers to interval readings.

A point with an unusable value, date or step is left out and counted. Only an answer that is no answer of measures at
all raises an error, which is always MalformedAnswer. The shape of an answer shows its generation, so no answer is
misread while an account moves from one generation to the next:

========================= =============================================================
v4, v5                    ``meter_reading.interval_reading[] {value, date, interval_length}``
older list under          ``usage_point[].meter_reading.interval_reading[] {value, rank}``, rank 1 is the
``usage_point``           first step after midnight of ``start``; also with ``date``
2026                      ``grandeur[].points[] {v, d, p}``, the item picked by what it measures
========================= =============================================================

Source: the Enedis swaggers of Data Connect v5 (v4 has the same JSON) and of "mesure synchrone auto" v2 (2026). The
older list is that of the v3 API.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Final, NamedTuple

from worker.domain.measures.answers import Json
from worker.domain.measures.overlaps import keep_last
from worker.domain.measures.readings import ONE_DAY, PARIS, DateWindow, IntervalReading, day_length, local_midnight
from worker.domain.measures.series import Series
from worker.domain.parsing.labels import Label, parse_step_minutes, to_starts
from worker.errors import MalformedAnswer

# A day is labelled by its date alone or by its midnight. Another time of day is that of the day's highest power.
_DAY: Final = re.compile(r"(20\d\d)-(\d\d)-(\d\d)(?:[T ]00:00(?::00)?(?:\.0{1,6})?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_ONE_DAY_STEPS: Final = (None, "", "P1D", "86400", 86_400)
# Only whole minutes are accepted, because keys have no seconds: two steps would have the same key.
_LABEL: Final = re.compile(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::00)?(?:\.0{1,6})?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)
_MINUTE: Final = timedelta(minutes=1)
_MAX_RANK: Final = 500_000  # More steps than any answer has. The bound prevents an overflow of dates.
_MAX_DAY_RANK: Final = 4_000
_NUMBER = re.compile(r"[+-]?\d{1,12}(\.\d{0,12})?", re.ASCII)  # No exponent, no "NaN", no endless digits.
_LARGEST: Final = Decimal(10**9)  # No connection draws a gigawatt, so a larger value is noise.


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The readings of one answer in time order, each step once, and how many points were left out.

    ``dropped``: points with an unusable value, date or step. ``differing``: points that came again with another value;
    the last one counts. ``left_out``: points whose time a later point of other bounds covers.
    """

    readings: Sequence[IntervalReading]
    dropped: int = 0
    differing: int = 0
    left_out: int = 0

    def clip_to(self, window: DateWindow) -> ParsedAnswer:
        """Return only the readings in the window that was asked for; the others are counted as dropped."""
        inside = [reading for reading in self.readings if window.start <= reading.start.date() < window.end]
        return ParsedAnswer(inside, self.dropped + len(self.readings) - len(inside), self.differing, self.left_out)


def parse(payload: Json, series: Series) -> ParsedAnswer:
    """Parse an answer of a series. Raises MalformedAnswer."""
    return parse_load_curve(payload) if series.has_steps else parse_daily(payload)


def parse_daily(payload: Json) -> ParsedAnswer:
    """Parse Wh per civil day; the date is read as text, without a time zone."""
    rows = open_envelope(payload, Series.DAILY)
    readings = []
    for row in rows:
        energy, day = to_energy(row.value, 60), _row_day(row)
        if energy is not None and day is not None:
            readings.append(IntervalReading(local_midnight(day), day_length(day), energy))
    return _collect(readings, len(rows))


def parse_load_curve(payload: Json) -> ParsedAnswer:
    """Parse mean W per step, labelled by the step's end in local time, to energy and start.

    A point's own step length wins over the header's, because the length may change within a day.
    """
    rows = open_envelope(payload, Series.LOAD_CURVE)
    # The label of a point with a bad value stays in the sequence: only the order of labels separates the two passes of
    # the autumn hour.
    labelled = [(row, label) for row in rows if (label := _row_label(row)) is not None]
    starts = to_starts([label for _, label in labelled])
    readings = [
        IntervalReading(start, label.length, energy)
        for (row, label), start in zip(labelled, starts, strict=True)
        if (energy := to_energy(row.value, label.length // _MINUTE)) is not None
    ]
    return _collect(readings, len(rows))


def _collect(readings: Iterable[IntervalReading], rows: int) -> ParsedAnswer:
    """Return the readings in time order; of a step that comes twice, the last in the answer wins, but never a zero.

    Some suppliers pad the skipped hour of a spring day with zeros (rule T5).
    """
    by_bounds: dict[tuple[datetime, timedelta], IntervalReading] = {}
    usable = differing = 0
    for reading in readings:
        usable += 1
        bounds = reading.start.astimezone(UTC), reading.length
        if bounds in by_bounds and by_bounds[bounds] != reading:
            differing += 1
        if bounds not in by_bounds or reading.amount:
            by_bounds.pop(bounds, None)  # The last one's place in the answer counts, too.
            by_bounds[bounds] = reading
    kept = keep_last(list(by_bounds.values()))
    return ParsedAnswer(kept, rows - usable, differing, len(by_bounds) - len(kept))


def _row_day(row: RawRow) -> date | None:
    if row.step not in _ONE_DAY_STEPS:  # This is a step of a curve, in watts and not in watt-hours.
        return None
    if row.label is not None:
        return _to_day(row.label)
    origin, rank = _to_day(row.origin), _to_rank(row.rank)
    return origin + (rank - 1) * ONE_DAY if origin and rank and rank <= _MAX_DAY_RANK else None


def _to_day(raw: Json) -> date | None:
    match = _DAY.fullmatch(raw.strip()) if isinstance(raw, str) else None
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:  # For example the 31st of February.
        return None


def _row_label(row: RawRow) -> Label | None:
    minutes = parse_step_minutes(row.step)
    if minutes is None:
        return None
    length = minutes * _MINUTE
    end = _to_label(row.label) if row.label is not None else _ranked_end(row, length)
    return Label(end, length) if end is not None else None


def _to_label(raw: Json) -> datetime | None:
    text = raw.strip() if isinstance(raw, str) else ""
    return _read_label(text) if _LABEL.fullmatch(text) else None


@lru_cache(maxsize=8192)  # All accounts have the same labels in one night.
def _read_label(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # For example the 25th hour.
        return None


def _ranked_end(row: RawRow, length: timedelta) -> datetime | None:
    """Return the end of a ranked step; ranks count elapsed steps, so clock changes need no rule."""
    origin, rank = _to_day(row.origin), _to_rank(row.rank)
    if origin is None or rank is None:
        return None
    return (local_midnight(origin).astimezone(UTC) + rank * length).astimezone(PARIS)


def _to_rank(raw: Json) -> int | None:
    number = parse_number(raw)
    if number is None or number != int(number) or not 1 <= number <= _MAX_RANK:
        return None
    return int(number)


# -- The points of an answer

_ROOTS_2026: Final = ("grandeur", "idPrm", "periode")


class MeasuredQuantity(NamedTuple):
    """What an answer says that it measures; ``kind`` and ``aggregate`` are optional fields of v4 and v5."""

    unit: str
    kind: str
    aggregate: str
    name_2026: str


QUANTITIES: Final = {
    Series.DAILY: MeasuredQuantity("Wh", "energy", "sum", "EA"),
    Series.LOAD_CURVE: MeasuredQuantity("W", "power", "average", "PA"),
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
        raise MalformedAnswer("the answer is not a JSON object of measures")
    if any(root in payload for root in _ROOTS_2026):
        return list(_rows_2026(payload, series))
    if "meter_reading" in payload:
        return list(_rows_of_meter_reading(payload["meter_reading"], series))
    if "interval_reading" in payload:  # Some gateways relay it without its envelope.
        return list(_rows_of_meter_reading(payload, series))
    if "usage_point" in payload:
        return list(_rows_of_usage_points(payload["usage_point"], series))
    raise MalformedAnswer("the answer holds none of the known envelopes of measures")


def _rows_of_meter_reading(meter_reading: Json, series: Series) -> Iterator[RawRow]:
    if not isinstance(meter_reading, dict):
        raise MalformedAnswer("meter_reading is not an object")
    reading_type = meter_reading.get("reading_type") or {}
    if not isinstance(reading_type, dict):
        raise MalformedAnswer("reading_type is not an object")
    _check_unit(reading_type.get("unit"), series)
    _check_kind(reading_type, series)
    default_step = reading_type.get("interval_length")
    for row in _list_of_objects(meter_reading.get("interval_reading"), "interval_reading"):
        yield RawRow(
            value=row.get("value"),
            label=row.get("date"),
            step=row.get("interval_length") or default_step,
            rank=row.get("rank"),
            origin=meter_reading.get("start"),
        )


def _rows_of_usage_points(usage_points: Json, series: Series) -> Iterator[RawRow]:
    usage_point_list = [usage_points] if isinstance(usage_points, dict) else usage_points
    entries = _list_of_objects(usage_point_list, "usage_point")
    if len({str(entry.get("usage_point_id")) for entry in entries}) > 1:
        raise MalformedAnswer("the answer mixes several meters")
    for entry in entries:
        yield from _rows_of_meter_reading(entry.get("meter_reading"), series)


def _rows_2026(payload: dict[str, Json], series: Series) -> Iterator[RawRow]:
    for item in _list_of_objects(payload.get("grandeur"), "grandeur"):
        if item.get("grandeurMetier") != "CONS" or item.get("grandeurPhysique") != QUANTITIES[series].name_2026:
            continue  # This is production or another quantity of the same meter.
        _check_unit(item.get("unite"), series)
        for point in _list_of_objects(item.get("points"), "points"):
            yield RawRow(value=point.get("v"), label=point.get("d"), step=point.get("p"))


def _check_unit(unit: Json, series: Series) -> None:
    """Check the unit, if there is one: to read W as Wh would double every half-hour. Raises MalformedAnswer."""
    if unit is not None and unit != (expected := QUANTITIES[series].unit):
        raise MalformedAnswer(f"the unit of {series.value} is not {expected}")


def _check_kind(reading_type: dict[str, Json], series: Series) -> None:
    """Check the optional kind and aggregate: a day's highest power has the same shape. Raises MalformedAnswer."""
    quantity = QUANTITIES[series]
    for name, expected in (("measurement_kind", quantity.kind), ("aggregate", quantity.aggregate)):
        if reading_type.get(name) not in (None, expected):
            raise MalformedAnswer(f"the {name} of {series.value} is not {expected}")


def _list_of_objects(raw: Json, name: str) -> list[dict[str, Json]]:
    """Return ``raw`` as a list; absent or null is empty, because suppliers leave empty lists out."""
    if raw is None:
        return []
    if not isinstance(raw, list) or not all(isinstance(item, dict) for item in raw):
        raise MalformedAnswer(f"{name} is not a list of objects")
    return raw


# -- One value


def parse_number(raw: Json) -> Decimal | None:
    """Parse a finite number of zero or more, sent as a number or as text; anything else is None.

    Rejects null, blanks, words, booleans, NaN, infinity and negative numbers (-1 and -2 are suppliers' markers).
    """
    if isinstance(raw, bool) or not isinstance(raw, int | float | str):
        return None
    text = raw.strip() if isinstance(raw, str) else _digits_of_number(raw)
    if not _NUMBER.fullmatch(text):
        return None
    number = Decimal(text)
    return abs(number) if 0 <= number < _LARGEST else None


def _digits_of_number(number: int | float) -> str:
    """Return the digits of a JSON number; empty if it is out of range."""
    if isinstance(number, int):
        # Python refuses to write an integer of more than 4300 digits.
        return str(number) if -1 <= number < _LARGEST else ""
    return format(number, "f") if number >= 0 else ""  # Six decimals would turn -1e-7 into zero.


def to_energy(raw: Json, minutes: int) -> int | None:
    """Convert a raw mean power over a step to milliwatt-hours, rounded half up: Wh = W x minutes / 60.

    A raw energy in watt-hours is a power over 60 minutes. None if it is no number.
    """
    number = parse_number(raw)
    return None if number is None else int((number * minutes * 1000 / 60).quantize(Decimal(1), ROUND_HALF_UP))
