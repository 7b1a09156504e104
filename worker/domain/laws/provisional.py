"""Days whose value is still provisional although it should be final: a note to an operator, no fault.

It stands alone because the law is about time, and compares no two documents.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Final

from worker.domain.measures.documents import Entry
from worker.domain.measures.readings import ONE_DAY
from worker.domain.measures.series import Series

PROVISIONAL: Final = "provisional"  # The status of a document, as the parsers translate it.


def overdue_days(series: Series, rows: Iterable[Entry], today: date) -> list[date]:
    """Return the provisional days of months whose values should be final by now, in the order of the rows.

    The values of a month settle until ``settles_on`` of the next one; a series without that day has none.
    """
    settles_on = series.description.settles_on
    if settles_on is None:
        return []
    settled_before = today.replace(day=1)
    if today.day <= settles_on:
        settled_before = (settled_before - ONE_DAY).replace(day=1)
    provisional = (row for row in rows if (row.details or {}).get("status") == PROVISIONAL)
    return [day for day in (date.fromisoformat(row.key) for row in provisional) if day < settled_before]
