"""Stored readings to totals by hour, month and year.

Totals are made anew from what is stored, for every period a window touches, changed or not (A1, A2): a
repeat mends, and nothing can be counted twice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping
from typing import Final

from worker.domain.measures.documents import Entry, period_key, round_as_stored
from worker.domain.measures.readings import IntervalReading, Period

_INPUT_KEY_LENGTH: Final = {
    Period.HOUR: 13,
    Period.MONTH: 7,
    Period.YEAR: 4,
}  # how much of an input's key counts


def total_by_period(readings: Iterable[IntervalReading], period: Period) -> dict[str, int]:
    """Add readings up, in milliwatt-hours, by the calendar of the meter's own zone.

    None twice, zone-aware starts.  A period without a reading has no entry, never a zero.
    """
    totals: Counter[str] = Counter()
    for reading in readings:
        totals[period_key(reading.start, period)] += reading.milliwatt_hours
    return dict(totals)


def total_entries(inputs: Iterable[Entry], period: Period) -> dict[str, int]:
    """The same over stored entries, minutes into hours, days into months and years, by key alone."""
    length = _INPUT_KEY_LENGTH[period]
    sums: defaultdict[str, int] = defaultdict(int)
    for key, energy, *_ in inputs:
        sums[key[:length]] += energy
    return {total_key(start, period): energy for start, energy in sums.items()}


def total_key(input_key: str, period: Period) -> str:
    """The key of the total that an input of this key goes into."""
    start = input_key[: _INPUT_KEY_LENGTH[period]]
    return f"{start}:00Z" if period is Period.HOUR else start


def keep_different(
    totals: Mapping[str, int], stored: Mapping[str, Entry], period: Period, touched: Container[str] = ()
) -> list[Entry]:
    """Totals, rounded as stored, that the store lacks or holds with another value; in key order.

    Those in ``touched`` come even where their value stays: to write one tells whoever made it of older
    inputs, by its new revision, to make it anew.
    """
    different = []
    for key in sorted(totals):
        energy = round_as_stored(totals[key], period)
        known = stored.get(key)
        if known is None:
            different.append(Entry(key, energy))
        elif known.milliwatt_hours != energy or key in touched:
            different.append(Entry(key, energy, None, known.revision, known.created_at))
    return different
