"""Readings converted and added up in the plainest way: what the faster functions of the domain must agree with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from worker.domain.documents import Entry, entry_of, period_key
from worker.domain.series import Doctype
from worker.domain.windows import IntervalReading


def total_by_period(readings: Iterable[IntervalReading], period: Doctype) -> dict[str, int]:
    """Add readings up, in milliwatt-hours, by the calendar of the meter's own zone."""
    totals: Counter[str] = Counter()
    for reading in readings:
        totals[period_key(reading.start, period)] += reading.amount
    return dict(totals)


def to_entries(readings: Iterable[IntervalReading], period: Doctype) -> list[Entry]:
    """Convert readings to entries of their own doctype, minute or day, in time order."""
    return sorted(entry_of(reading, period) for reading in readings)
