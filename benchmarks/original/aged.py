"""Documents of a home that was connected long ago: a load curve that goes back further than a first sync."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import requests

from benchmarks.common import TODAY
from benchmarks.original import ours, theirs
from worker.domain.documents import Entry, period_key, to_document
from worker.domain.series import Doctype
from worker.domain.windows import PARIS, local_midnight

_STEPS: Final = {Doctype.MINUTE: (timedelta(minutes=30), 153_000), Doctype.HOUR: (timedelta(hours=1), 306_000)}  # mWh
_BATCH_SIZE: Final = 2_000
_TIMEOUT_S: Final = 60


def age_ours(home: ours.ReleveHome, days: int, known_days: int) -> None:
    """Write half-hours and hours of ``days`` before today, without the last ``known_days``, into the stores."""
    for doctype, (_, energy) in _STEPS.items():
        entries = [Entry(period_key(start, doctype), energy) for start in _starts(doctype, days, known_days)]
        now = home.parts.stores.now()
        documents = [to_document(home.account_id, doctype, entry, now) for entry in entries]
        home.parts.stores.measures.write({doctype: documents})


def age_theirs(couchdb: str, days: int, known_days: int, prefix: str = theirs.PREFIX) -> None:
    """Write the same documents for the original, each shaped as one that its library has written."""
    for doctype, (_, energy) in _STEPS.items():
        database = f"{couchdb}/{theirs.database(doctype, prefix)}"
        response = requests.get(
            f"{database}/_all_docs", params={"include_docs": "true", "limit": 1}, timeout=_TIMEOUT_S
        )
        shape = {name: value for name, value in response.json()["rows"][0]["doc"].items() if not name.startswith("_")}
        starts = [start.astimezone(PARIS) for start in _starts(doctype, days, known_days)]
        # The hour that comes twice in autumn has one key with the original.
        documents = [{**shape, **_fields(start), "load": energy / 1e6} for start in starts if not start.fold]
        for first in range(0, len(documents), _BATCH_SIZE):
            body = {"docs": documents[first : first + _BATCH_SIZE]}
            requests.post(f"{database}/_bulk_docs", json=body, timeout=_TIMEOUT_S).raise_for_status()


def _starts(doctype: Doctype, days: int, known_days: int) -> Iterator[datetime]:
    start = local_midnight(TODAY - timedelta(days=days)).astimezone(UTC)
    end = local_midnight(TODAY - timedelta(days=known_days)).astimezone(UTC)
    while start < end:
        yield start
        start += _STEPS[doctype][0]


def _fields(start: datetime) -> dict[str, Any]:
    return {name: getattr(start, name) for name in ("year", "month", "day", "hour", "minute")}
