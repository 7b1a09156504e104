"""The measure store: each doctype's database answers, and is laid out as we were told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from config.settings import ConfigError, Settings
from worker.domain.documents import doctype
from worker.domain.readings import Period
from worker.health.findings import Note, ok, warn
from worker.health.visit import Visit, missing_sqlite_file


def measures(visit: Visit) -> Iterator[Note]:
    """Raises StoreUnavailable and ConfigError."""
    if visit.couchdb is None:
        yield from _sql(visit)
        return
    names = [doctype(period).replace(".", "-") for period in Period]
    found = {name: facts for name in names if (facts := visit.couchdb.database(name)) is not None}
    for name, facts in found.items():
        yield from _layout(name, facts.get("cluster", {}), visit.settings)
    if missing := len(names) - len(found):
        yield ok(
            f"{missing} of {len(names)} databases are not made yet: `releve migrate` makes them, or the first writing"
        )
    else:
        yield ok(f"all {len(names)} databases answer")


def _layout(name: str, layout: dict[str, Any], settings: Settings) -> Iterator[Note]:
    wanted = {"q": settings.couchdb_shards, "n": settings.couchdb_replicas}
    for letter, count in wanted.items():
        if count is not None and layout.get(letter, count) != count:
            yield warn(
                f"{name} was made with {letter}={layout[letter]}, not {count}: that is fixed when a database is made; "
                "make it anew and replicate into it, or set RELEVE_COUCHDB_SHARDS and RELEVE_COUCHDB_REPLICAS as it is"
            )


def _sql(visit: Visit) -> Iterator[Note]:
    from worker.health.registry import sql_version
    from worker.stores.database import Database
    from worker.stores.measures import open_measures

    url = visit.settings.measures()
    if missing_sqlite_file(url):
        yield warn("not made yet: `releve migrate` makes it, or the first writing")
        return
    try:
        stores, database = open_measures(url, timeout_s=visit.settings.store_timeout_s), Database(url)
    except ValueError as error:
        raise ConfigError(f"RELEVE_MEASURES_URL: {error}") from None
    for store in stores.values():
        store.read("doctor", "0", "1")
    visit.opened.callback(database.close)
    with database.reading() as connection:
        yield ok(f"{sql_version(connection)}, all {len(Period)} tables answer")
