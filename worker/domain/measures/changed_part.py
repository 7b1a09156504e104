"""The part of a series in which a window writes something, as outputs are told."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import NamedTuple

from worker.domain.measures import messages
from worker.domain.measures.messages import Writes
from worker.domain.measures.readings import local_midnight

_A_MOMENT = timedelta(seconds=1)


class ChangedPart(NamedTuple):
    """From the start of the first reading that changes to the start of the last one; zone-aware."""

    first: datetime
    last: datetime


def changed_part(writes: Writes) -> ChangedPart | None:
    """Return the part in which readings are written or removed; of totals alone, the whole window. None for nothing."""
    series = messages.series_of(writes)
    entries = (*writes["changed"], *writes["removals"].get(series.inputs.value, ()))
    starts = [start_of(entry[0]) for entry in entries]
    if starts:
        return ChangedPart(min(starts), max(starts))
    if any(writes["totals"].values()) or any(writes["removals"].values()):
        first, end = messages.window_of(writes).instants()
        return ChangedPart(first, end - _A_MOMENT)
    return None


def start_of(key: str) -> datetime:
    """Return the start of the reading with this key: of minutes in UTC, of days at local midnight."""
    return datetime.fromisoformat(key) if "T" in key else local_midnight(date.fromisoformat(key))
