"""The parsers of Enedis' energies and curves, of consumption and production, to interval readings.

A point with an unusable value, date or step is left out and counted. Only an answer that is no answer of measures at
all raises an error, which is always MalformedAnswer.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.overlaps import keep_last
from worker.domain.measures.readings import ONE_DAY, PARIS, IntervalReading, day_length, local_midnight
from worker.domain.measures.series import Series
from worker.domain.parsing.envelopes import RawRow, open_envelope
from worker.domain.parsing.labels import Label, parse_day, parse_step_minutes, to_starts
from worker.domain.parsing.parsed_answer import ParsedAnswer
from worker.domain.parsing.values import parse_number, to_energy

_ONE_DAY_STEPS: Final = (None, "", "P1D", "86400", 86_400)
# Only whole minutes are accepted, because keys have no seconds: two steps would have the same key.
_LABEL: Final = re.compile(r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::00)?(?:\.0{1,6})?(?:Z|[+-]\d\d:?\d\d)?", re.ASCII)
_MINUTE: Final = timedelta(minutes=1)
_MAX_RANK: Final = 500_000  # More steps than any answer has. The bound prevents an overflow of dates.
_MAX_DAY_RANK: Final = 4_000


def parse_daily(payload: Json, series: Series = Series.DAILY) -> ParsedAnswer:
    """Parse Wh per civil day; the date is read as text, without a time zone."""
    rows = open_envelope(payload, series)
    readings = []
    for row in rows:
        energy, day = to_energy(row.value, 60), _row_day(row)
        if energy is not None and day is not None:
            readings.append(IntervalReading(local_midnight(day), day_length(day), energy))
    return _collect(readings, len(rows))


def parse_load_curve(payload: Json, series: Series = Series.LOAD_CURVE) -> ParsedAnswer:
    """Parse mean W per step, labelled by the step's end in local time, to energy and start.

    A point's own step length wins over the header's, because the length may change within a day.
    """
    rows = open_envelope(payload, series)
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
        return parse_day(row.label)
    origin, rank = parse_day(row.origin), _to_rank(row.rank)
    return origin + (rank - 1) * ONE_DAY if origin and rank and rank <= _MAX_DAY_RANK else None


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
    origin, rank = parse_day(row.origin), _to_rank(row.rank)
    if origin is None or rank is None:
        return None
    return (local_midnight(origin).astimezone(UTC) + rank * length).astimezone(PARIS)


def _to_rank(raw: Json) -> int | None:
    number = parse_number(raw)
    if number is None or number != int(number) or not 1 <= number <= _MAX_RANK:
        return None
    return int(number)
