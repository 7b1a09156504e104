"""The fleet against its quota: whether the nights of the accounts there are fit, under the policy that holds."""

from __future__ import annotations

from collections.abc import Iterator

from worker.domain.clock import clock_from
from worker.domain.measures.readings import PARIS
from worker.ops.capacity import fit_of
from worker.ops.health.connections import Visit, missing_sqlite_file
from worker.ops.health.results import Note, ok, warn
from worker.stores.registry import migrations


def quota(visit: Visit) -> Iterator[Note]:
    """Raises StoreUnavailable."""
    if missing_sqlite_file(visit.settings.registry()):
        yield ok("no account yet")
        return
    today = clock_from(visit.settings.pretend_now)().astimezone(PARIS).date()
    with visit.registry.reading() as connection:
        if migrations.current_step(connection) != migrations.newest_step():
            return  # told by the registry's own line
    fit = fit_of(visit.registry, visit.settings, today)
    yield ok(fit.told()) if fit.fits else warn(fit.told())
