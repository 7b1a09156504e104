"""Whether the supplier is known to be unwell: an open incident explains why nothing new comes."""

from __future__ import annotations

from collections.abc import Iterator

from worker.ops.health.connections import Visit
from worker.ops.health.results import Note, ok, warn
from worker.stores.redis.incidents import IncidentStore


def incidents(visit: Visit) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    found = IncidentStore(visit.redis).all_open().values()
    for incident in found:
        what = "nothing is asked for" if incident.kind.holds else "refusals of this kind set nobody aside"
        series = " and ".join(incident.series)
        yield warn(
            f"{incident.kind} since {incident.began_at:%Y-%m-%d %H:%M}, {series}: {what} until it is over "
            "(`releve incidents`)"
        )
    yield ok("none is open")
