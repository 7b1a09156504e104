"""The measure store: each doctype's database answers, and is laid out as we were told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from config.settings import ConfigError, Settings
from worker.ops.health.connections import Visit, missing_sqlite_file
from worker.ops.health.databases import database_names
from worker.ops.health.results import Note, fail, ok, warn
from worker.stores.measures.base import Layout, doctypes_of, readings_of, wrong_layout

if TYPE_CHECKING:
    from worker.stores.measures.factory import Site


def measures(visit: Visit) -> Iterator[Note]:
    """Raises StoreUnavailable and ConfigError."""
    layout = Layout(visit.settings.layout)
    if visit.couchdb is None:
        yield from _sql(visit, layout)
        return
    names = database_names(doctypes_of(layout))
    found = {name: facts for name in names if (facts := visit.couchdb.database(name)) is not None}
    others = (visit.couchdb.database(name) for name in database_names(readings_of(layout.other)))
    if any(facts is not None and facts.get("doc_count") for facts in others):
        yield fail(wrong_layout(layout))
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


def _site(settings: Settings) -> Site:
    from worker.stores.measures.factory import Site

    try:
        return Site(settings.measures(), settings.store_timeout_s)
    except ValueError as error:
        raise ConfigError(f"RELEVE_MEASURES_URL: {error}") from None


def _sql(visit: Visit, layout: Layout) -> Iterator[Note]:
    from worker.ops.health.registry import sql_version
    from worker.stores.registry.database import Database

    url = visit.settings.measures()
    if missing_sqlite_file(url):
        yield warn("not made yet: `releve migrate` makes it, or the first writing")
        return
    site = _site(visit.settings)
    if site.holds_any(layout.other):
        yield fail(wrong_layout(layout))
    stores, database = site.stores(layout), Database(url)
    for store in stores.values():
        store.read("doctor", "0", "1")
    visit.opened.callback(database.close)
    with database.reading() as connection:
        yield ok(f"{sql_version(connection)}, all {len(stores)} tables answer")
