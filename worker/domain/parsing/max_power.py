"""The parser of the maximum power of each day, in VA, with its instant.

    v4, v5      {"value": "4638", "date": "2023-04-01 12:06:20"}
    2026        {"v": "4638", "d": "2023-04-01 12:06:20"}

The label is the instant of the maximum power, so it is on no grid. A reading belongs to the civil day of its label. Of
two readings of one civil day the higher holds, of two alike the earlier. Instants in the hour that comes twice in
autumn are its first pass, as in rule 1 of ``labels``: a day has one such label, so no order could tell the second pass.
An instant in the hour that spring skips is an hour later. Source: Enedis, guide d'implémentation Data Connect v5
(daily_consumption_max_power), swagger mesure_synchrone_auto v2 of 2026, and a recorded answer.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from worker.domain.measures.answers import Json
from worker.domain.measures.readings import PARIS, IntervalReading, civil_date, day_length, local_midnight
from worker.domain.measures.series import Series
from worker.domain.parsing.envelopes import RawRow, open_envelope
from worker.domain.parsing.labels import parse_day
from worker.domain.parsing.parsed_answer import ParsedAnswer
from worker.domain.parsing.values import to_thousandths

_INSTANT: Final = re.compile(
    r"20\d\d-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d)?(?:\.\d{1,6})?(?:Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
_NO_STEPS: Final = (None, "", "P1D", "86400", 86_400)


def parse_max_power(payload: Json, series: Series = Series.MAX_POWER) -> ParsedAnswer:
    """Parse a reading for each civil day; its detail ``at`` is the instant, absent where only the day is told."""
    rows = open_envelope(payload, series)
    readings = [reading for row in rows if (reading := _to_reading(row)) is not None]
    highest: dict[datetime, IntervalReading] = {}
    for reading in readings:
        known = highest.get(reading.start)
        if known is None or _rank(reading) < _rank(known):
            highest[reading.start] = reading
    kept = [highest[start] for start in sorted(highest)]
    return ParsedAnswer(kept, len(rows) - len(readings), left_out=len(readings) - len(kept))


def _rank(reading: IntervalReading) -> tuple[int, bool, datetime]:
    """Return what sorts the reading that holds first."""
    at = (reading.details or {}).get("at")
    return -reading.amount, at is None, datetime.fromisoformat(at) if at else reading.start


def _to_reading(row: RawRow) -> IntervalReading | None:
    amount, instant = to_thousandths(row.value), _to_instant(row.label)
    day = parse_day(row.label) if instant is None else civil_date(instant)
    if amount is None or day is None or row.step not in _NO_STEPS:
        return None
    details = {"at": instant.isoformat(timespec="seconds")} if instant else None
    return IntervalReading(local_midnight(day), day_length(day), amount, details)


def _to_instant(raw: Json) -> datetime | None:
    """Return the instant with the offset of Europe/Paris; None for a date alone and for anything else."""
    text = raw.strip() if isinstance(raw, str) else ""
    try:
        moment = datetime.fromisoformat(text) if _INSTANT.fullmatch(text) else None
    except ValueError:  # For example the 25th hour.
        return None
    if moment is None:
        return None
    # By way of UTC, which turns an instant that the clocks skip into the one that they showed.
    return (moment if moment.tzinfo else moment.replace(tzinfo=PARIS)).astimezone(UTC).astimezone(PARIS)
