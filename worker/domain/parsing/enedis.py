"""Enedis answers to interval readings.

Whatever is wrong with a single point (value, date, step) keeps that point out and is counted; only an
answer that is not one of measures at all raises, and then MalformedAnswer alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import (
    ONE_DAY,
    PARIS,
    DateWindow,
    IntervalReading,
    Series,
    day_length,
    local_midnight,
)
from worker.domain.parsing.envelopes import RawRow, open_envelope
from worker.domain.parsing.labels import Label, to_starts
from worker.domain.parsing.values import (
    parse_number,
    parse_step_minutes,
    to_energy,
    watt_hours_to_milliwatt_hours,
)

# A day is labelled by itself or by its midnight: the moment of a day's highest power is no label of a day.
_DAY: Final = re.compile(r"(20\d\d)-(\d\d)-(\d\d)(?:[T ]00:00(?::00)?(?:\.0{1,6})?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_A_DAY: Final = (None, "", "P1D", "86400", 86_400)
# Whole minutes alone: a step that began between two would share its key with another.
_LABEL: Final = re.compile(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::00)?(?:\.0{1,6})?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)
_MINUTE: Final = timedelta(minutes=1)
_LONGEST_RANK: Final = 500_000  # more steps than any answer holds: keeps arithmetic on dates in bounds
_TEXT: Final = {str}
_TEXT_OR_NONE: Final = {str, type(None)}


class Steps(NamedTuple):
    """Start in the meter's zone and length of each point, None where it does not tell; whether time only goes on."""

    places: Sequence[tuple[datetime, timedelta] | None]
    rising: bool


@dataclass(frozen=True, slots=True)
class Parsed:
    """Readings of one answer in time order, none twice; how many points were kept out, and why.

    ``dropped``: value, date or step unusable.  ``differing``: the same step came twice with another
    value, the last one won (K2).
    """

    readings: Sequence[IntervalReading]
    dropped: int = 0
    differing: int = 0

    def within(self, window: DateWindow) -> Parsed:
        """The same without what was not asked for; counted as dropped."""
        start, end = window.instants()
        if not self.readings or (start <= self.readings[0].start and self.readings[-1].start < end):
            return self  # they are in time order, and comparing 336 moments of two zones takes its time
        kept = [reading for reading in self.readings if start <= reading.start < end]
        return Parsed(kept, self.dropped + len(self.readings) - len(kept), self.differing)


def parse(payload: Json, series: Series) -> Parsed:
    """An answer of the given series.  Raises MalformedAnswer."""
    return parse_daily(payload) if series is Series.DAILY else parse_load_curve(payload)


def parse_daily(payload: Json) -> Parsed:
    """Wh per civil day; the date is taken as text, no zone is involved (T6)."""
    rows = open_envelope(payload, Series.DAILY)
    readings = []
    for row in rows:
        number, day = parse_number(row.value), _row_day(row)
        if number is not None and day is not None:
            energy = watt_hours_to_milliwatt_hours(number)
            readings.append(IntervalReading(local_midnight(day), day_length(day), energy))
    return _collect(readings, len(rows))


def parse_load_curve(payload: Json) -> Parsed:
    """Mean W per step, labelled by its end in local time; read into energy and start (T2 to T5).

    A step's length is its own, never the header's where it says one: it may change in mid-day.
    """
    rows = open_envelope(payload, Series.LOAD_CURVE)
    steps = _to_steps(rows)
    readings = [
        IntervalReading(*place, energy)
        for row, place in zip(rows, steps.places, strict=True)
        if place is not None and (energy := to_energy(row.value, place[1] // _MINUTE)) is not None
    ]
    return Parsed(readings, len(rows) - len(readings)) if steps.rising else _collect(readings, len(rows))


def _to_steps(rows: Sequence[RawRow]) -> Steps:
    """Texts alone are looked up: to Python 1, 1.0 and true are one and the same."""
    labels, steps = [row.label for row in rows], [row.step for row in rows]
    if set(map(type, labels)) <= _TEXT and set(map(type, steps)) <= _TEXT_OR_NONE:
        return _to_steps_again(tuple(labels), tuple(steps))
    return _place(rows)


@lru_cache(maxsize=32)  # all accounts of a night have the same labels in the same order
def _to_steps_again(labels: tuple[str, ...], steps: tuple[str | None, ...]) -> Steps:
    return _place([RawRow(None, label, step) for label, step in zip(labels, steps, strict=True)])


def _place(rows: Sequence[RawRow]) -> Steps:
    """A bad value keeps its label in the sequence: the order tells the two passes of the autumn hour apart."""
    labels = [_row_label(row) for row in rows]
    starts = to_starts([label for label in labels if label is not None])
    instants = [start.astimezone(UTC) for start in starts]
    remaining = iter(starts)
    places = tuple((next(remaining), label.length) if label is not None else None for label in labels)
    return Steps(places, all(earlier < later for earlier, later in pairwise(instants)))


def _collect(readings: Iterable[IntervalReading], rows: int) -> Parsed:
    """Last in response order wins (K2)."""
    by_start: dict[datetime, IntervalReading] = {}
    usable = differing = 0
    for reading in readings:
        usable += 1
        instant = reading.start.astimezone(UTC)
        if instant in by_start and by_start[instant] != reading:
            differing += 1
        by_start[instant] = reading
    return Parsed([by_start[instant] for instant in sorted(by_start)], rows - usable, differing)


def _row_day(row: RawRow) -> date | None:
    if row.step not in _A_DAY:  # a step of a curve: its watts are no day's energy
        return None
    if row.label is not None:
        return _to_day(row.label)
    origin, rank = _to_day(row.origin), _to_rank(row.rank)
    return origin + (rank - 1) * ONE_DAY if origin and rank and rank <= 4000 else None


def _to_day(raw: Json) -> date | None:
    match = _DAY.fullmatch(raw.strip()) if isinstance(raw, str) else None
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:  # the 31st of February
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


@lru_cache(maxsize=8192)  # all accounts of a night have the same labels
def _read_label(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # the 25th hour
        return None


def _ranked_end(row: RawRow, length: timedelta) -> datetime | None:
    """Ranks count elapsed steps, so they need no rule for clock changes (upstream-apis, 1.2)."""
    origin, rank = _to_day(row.origin), _to_rank(row.rank)
    if origin is None or rank is None:
        return None
    return (local_midnight(origin).astimezone(UTC) + rank * length).astimezone(PARIS)


def _to_rank(raw: Json) -> int | None:
    number = parse_number(raw)
    if number is None or number != int(number) or not 1 <= number <= _LONGEST_RANK:
        return None
    return int(number)
