"""Readings converted and added up in the plainest way: what the faster functions of the domain must agree with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from worker.domain.measures.documents import USUAL_STEP_MINUTES, Entry, period_key, round_as_stored
from worker.domain.measures.readings import PARIS, IntervalReading, Period

MINUTE = timedelta(minutes=1)


def total_by_period(readings: Iterable[IntervalReading], period: Period) -> dict[str, int]:
    """Add readings up, in milliwatt-hours, by the calendar of the meter's own zone."""
    totals: Counter[str] = Counter()
    for reading in readings:
        totals[period_key(reading.start, period)] += reading.milliwatt_hours
    return dict(totals)


def to_entries(readings: Iterable[IntervalReading], period: Period) -> list[Entry]:
    """Convert readings to entries of their own doctype, minute or day, in time order."""
    entries = []
    for reading in sorted(readings, key=lambda reading: reading.start.astimezone(UTC)):
        minutes = reading.length // MINUTE
        step = minutes if period is Period.MINUTE and minutes != USUAL_STEP_MINUTES else None
        entries.append(Entry(period_key(reading.start, period), round_as_stored(reading.milliwatt_hours, period), step))
    return entries


def unpack_readings(rows: Iterable[list[int]]) -> list[IntervalReading]:
    """Convert the arrays of a message back to readings, in their order."""
    return [
        IntervalReading(datetime.fromtimestamp(start * 60, PARIS), minutes * MINUTE, energy)
        for start, minutes, energy in rows
    ]
