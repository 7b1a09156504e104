"""What an answer of measures carries, before it takes the form of one generation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from random import Random
from typing import Final

from worker.domain.measures.readings import ONE_DAY
from worker.simulator.api.requests import Question
from worker.simulator.homes.dst_labels import relabel
from worker.simulator.homes.meters import Meter
from worker.simulator.homes.series import Direction, Kind, Number, Point

_VOLT_AMPERES_OF_WATTS: Final = 1.15  # a peak within a half-hour is above its mean


@dataclass(frozen=True, slots=True)
class Row:
    """One value with its label, as text; ``minutes`` and marks with points of the curve alone."""

    value: str | None
    label: str
    minutes: int = 0
    marks: tuple[str, str, str] = ("B", "0", "0")


def rows_of(meter: Meter, question: Question, direction: Direction | None = None) -> list[Row]:
    """The rows for the days asked for, spoilt as the meter's switches say; empty where nothing is published."""
    asked = direction or question.resource.direction
    days = _days(question)
    if question.resource.kind is Kind.DAILY:
        rows = [Row(text(wh), str(day)) for day in days if (wh := meter.daily(asked, day)) is not None]
    elif question.resource.kind is Kind.LOAD_CURVE:
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


def _to_row(point: Point) -> Row:
    return Row(text(point.watts), point.label, point.minutes, (point.nature, point.likelihood, point.state))


def _peak(meter: Meter, direction: Direction, day: date) -> Row | None:
    """The day's highest power in VA, at a moment that is on no grid."""
    points = meter.curve(direction, day)
    if not points:
        return None
    highest = max(points, key=lambda point: point.watts)
    moment = datetime.fromisoformat(highest.label) - timedelta(minutes=7, seconds=int(highest.watts) % 60)
    return Row(text(round(highest.watts * _VOLT_AMPERES_OF_WATTS)), str(moment))


def _spoilt(meter: Meter, question: Question, rows: list[Row]) -> list[Row]:
    switches = meter.switches
    if switches.null_every:
        rows = [
            Row(switches.null_text, row.label, row.minutes, row.marks) if rank % switches.null_every == 0 else row
            for rank, row in enumerate(rows, start=1)
        ]
    if switches.shuffled:
        Random(f"{question.start}").shuffle(rows)
    return rows
