"""The measure stores for a URL: CouchDB in production, or SQL through SQLAlchemy on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from copy import copy
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from sqlalchemy import MetaData

from worker.domain.measures.documents import doctype, packed_doctype
from worker.domain.measures.readings import Period, Series
from worker.stores.measures.base import Layout, LayoutGuard, Measures, readings_of
from worker.stores.measures.instrumented import InstrumentedPacks, InstrumentedStore
from worker.stores.measures.packed import PackedMeasures
from worker.stores.measures.sql import SqlStore
from worker.stores.measures.sql_database import SqlDatabase
from worker.stores.measures.sql_measures import SqlMeasures
from worker.stores.measures.sql_packs import SqlPacks
from worker.stores.measures.sql_tables import METADATA, PACK_METADATA

if TYPE_CHECKING:
    from worker.stores.measures.couchdb import CouchStore
    from worker.stores.measures.couchdb_http import CouchServer

_COUCHDB: Final = "couchdb+"


def open_measures(
    url: str,
    *,
    timeout_s: float = 30.0,
    prefix: str = "",
    shards: int | None = None,
    replicas: int | None = None,
    layout: str = Layout.PLAIN,
    guarded: bool = False,
) -> Measures:
    """Return one store a doctype; connects to nothing yet.

    The URL is ``couchdb+http://user:password@host:5984/``, ``couchdb+https://…`` or SQLAlchemy's.  ``prefix`` goes
    before the names of CouchDB databases; ``shards`` and ``replicas`` apply when these are created.  ``guarded``: the
    stores refuse to work where the other layout holds readings.  Raises ValueError, in one line that does not repeat
    the URL, which may hold a password.
    """
    return MeasureBackend(url, timeout_s, prefix, shards, replicas).measures(Layout(layout), guarded=guarded)


class MeasureBackend:
    """One CouchDB server or SQL database, with the stores of each layout; arguments as of ``open_measures``.

    ``close`` closes the SQL connections of all its stores.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float = 30.0,
        prefix: str = "",
        shards: int | None = None,
        replicas: int | None = None,
    ) -> None:
        self._url, self._timeout_s, self._prefix = url, timeout_s, prefix
        self._sharding = {"shards": shards, "replicas": replicas}
        self._server = open_couchdb(url, timeout_s)
        self._databases: list[SqlDatabase] = []

    def measures(self, layout: Layout, *, guarded: bool = False) -> Measures:
        """Return one store a doctype, as ``open_measures`` does."""
        guard = LayoutGuard(layout, lambda: self.has_readings(layout.other)) if guarded else None
        if layout is Layout.PACKED:
            return InstrumentedPacks(PackedMeasures(self.pack_stores()), guard)
        plain = self.plain_stores()
        if isinstance(plain, SqlMeasures):
            return InstrumentedPacks(plain, guard)
        return {period: InstrumentedStore(store, guard) for period, store in plain.items()}

    def plain_stores(self) -> Mapping[Period, CouchStore | SqlStore]:
        if self._server is not None:
            return {period: self._couch(self._server, doctype(period)) for period in Period}
        return SqlMeasures(self._open_database(METADATA))

    def pack_stores(self) -> dict[Series, CouchStore | SqlPacks]:
        if self._server is not None:
            return {series: self._couch(self._server, packed_doctype(series)) for series in Series}
        database = self._open_database(PACK_METADATA)
        return {series: SqlPacks(database, series) for series in Series}

    def stores(self, layout: Layout) -> dict[str, CouchStore | SqlStore | SqlPacks]:
        """Return the stores of a layout by doctype."""
        if layout is Layout.PACKED:
            return {packed_doctype(series): store for series, store in self.pack_stores().items()}
        return {doctype(period): store for period, store in self.plain_stores().items()}

    def has_readings(self, layout: Layout) -> bool:
        """Return whether any account has readings in this layout; leaves no connection open.

        Raises StoreUnavailable.
        """
        backend = copy(self)
        backend._databases = []
        with closing(backend):
            stores = backend.stores(layout)
            return not all(stores[kind].is_empty() for kind in readings_of(layout))

    def close(self) -> None:
        """Close idle SQL connections; the next use of a store opens new ones."""
        for database in self._databases:
            database.close()

    def _open_database(self, metadata: MetaData) -> SqlDatabase:
        database = SqlDatabase(self._url, self._timeout_s, metadata)
        self._databases.append(database)
        return database

    def _couch(self, server: CouchServer, name: str) -> CouchStore:
        # Imported here, so that a system with SQL does not load CouchDB's package.
        from worker.stores.measures.couchdb import CouchStore

        return CouchStore(server, name, self._prefix, **self._sharding)


def open_couchdb(url: str, timeout_s: float) -> CouchServer | None:
    """Return the CouchDB server of a measures URL, for its set-up; None for a SQL database.

    Raises ValueError, as ``open_measures`` does.
    """
    return _couch_server(url.removeprefix(_COUCHDB), timeout_s) if url.startswith(_COUCHDB) else None


def couchdb_user(url: str) -> tuple[str, str] | None:
    """Return the user and password in a CouchDB measures URL, if any."""
    parts = urlsplit(url.removeprefix(_COUCHDB))
    return _credentials(parts.username, parts.password)


def _couch_server(url: str, timeout_s: float) -> CouchServer:
    from worker.stores.measures.couchdb_http import CouchServer

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # Its text would repeat a part of a password with '/' or '#'.
        host, port = None, None
    if host is None or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise ValueError(
            "the measures URL must be couchdb+http://USER:PASSWORD@HOST:5984/ or couchdb+https://…; "
            "write / : @ ? # % in a password as %2F %3A %40 %3F %23 %25"
        )
    name = f"[{host}]" if ":" in host else host
    origin = f"{parts.scheme}://{name}{f':{port}' if port else ''}{parts.path}"
    return CouchServer(origin, _credentials(parts.username, parts.password), timeout_s)


def _credentials(user: str | None, password: str | None) -> tuple[str, str] | None:
    return None if user is None else (unquote(user), unquote(password or ""))
