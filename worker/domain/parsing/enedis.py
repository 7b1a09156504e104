"""The parser of Enedis answers to interval readings.

A point with an unusable value, date or step is left out and counted. Only an answer that is no answer of measures at
all raises an error, which is always MalformedAnswer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import (
    ONE_DAY,
    PARIS,
    DateWindow,
    IntervalReading,
    Period,
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
)

# A day is labelled by its date alone or by its midnight. Another time of day is that of the day's highest power.
_DAY: Final = re.compile(r"(20\d\d)-(\d\d)-(\d\d)(?:[T ]00:00(?::00)?(?:\.0{1,6})?(?:Z|[+-]\d\d:?\d\d)?)?", re.ASCII)
_ONE_DAY_STEPS: Final = (None, "", "P1D", "86400", 86_400)
# Only whole minutes are accepted, because keys have no seconds: two steps would have the same key.
_LABEL: Final = re.compile(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::00)?(?:\.0{1,6})?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)
_MINUTE: Final = timedelta(minutes=1)
_MAX_RANK: Final = 500_000  # More steps than any answer has. The bound prevents an overflow of dates.
_MAX_DAY_RANK: Final = 4_000


@dataclass(frozen=True, slots=True)
class ParsedAnswer:
    """The readings of one answer in time order, each step once, and how many points were left out.

    ``dropped``: points with an unusable value, date or step. ``differing``: points that came again with another value;
    the last one counts.
    """

    readings: Sequence[IntervalReading]
    dropped: int = 0
    differing: int = 0

    def clip_to(self, window: DateWindow) -> ParsedAnswer:
        """Return only the readings in the window that was asked for; the others are counted as dropped."""
        inside = [reading for reading in self.readings if window.start <= reading.start.date() < window.end]
        return ParsedAnswer(inside, self.dropped + len(self.readings) - len(inside), self.differing)


def parse(payload: Json, series: Series) -> ParsedAnswer:
    """Parse an answer of a series. Raises MalformedAnswer."""
    return parse_daily(payload) if series.inputs is Period.DAY else parse_load_curve(payload)


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
    """Return the readings in time order; of a step that comes twice, the last in the answer wins."""
    by_start: dict[datetime, IntervalReading] = {}
    usable = differing = 0
    for reading in readings:
        usable += 1
        instant = reading.start.astimezone(UTC)
        if instant in by_start and by_start[instant] != reading:
            differing += 1
        by_start[instant] = reading
    return ParsedAnswer([by_start[instant] for instant in sorted(by_start)], rows - usable, differing)


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
    try:
        return datetime.fromisoformat(text) if _LABEL.fullmatch(text) else None
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
