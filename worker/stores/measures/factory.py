"""The measure stores behind one URL: CouchDB in production, SQL through SQLAlchemy embedded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from worker.domain.measures.documents import doctype, packed_doctype
from worker.domain.measures.readings import Period, Series
from worker.stores.measures.base import Layout, LayoutGuard, Measures, readings_of
from worker.stores.measures.instrumented import InstrumentedPacks, InstrumentedStore
from worker.stores.measures.packed import PackedMeasures
from worker.stores.measures.sql import SqlStore
from worker.stores.measures.sql_database import SqlDatabase
from worker.stores.measures.sql_measures import SqlMeasures
from worker.stores.measures.sql_packs import SqlPacks
from worker.stores.measures.sql_tables import PACK_METADATA

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
    """One store a doctype at ``couchdb+http://user:password@host:5984/``, ``couchdb+https://…`` or a SQLAlchemy URL.

    Connects to nothing yet.  ``prefix`` goes before the names of CouchDB databases, ``shards`` and ``replicas`` are
    theirs when they are made.  ``guarded``: refuse to work where the other layout holds anything.  Raises ValueError,
    in one line that does not repeat the URL, for it may hold a password.
    """
    site = Site(url, timeout_s, prefix, shards, replicas)
    kept = Layout(layout)
    guard = LayoutGuard(kept, lambda: site.holds_any(kept.other)) if guarded else None
    if kept is Layout.PACKED:
        return InstrumentedPacks(PackedMeasures(site.packs()), guard)
    plain = site.plain()
    if isinstance(plain, SqlMeasures):
        return InstrumentedPacks(plain, guard)
    return {period: InstrumentedStore(store, guard) for period, store in plain.items()}


class Site:
    """One server or file, and the stores of each layout there.  Arguments and errors as of ``open_measures``."""

    def __init__(
        self,
        url: str,
        timeout_s: float = 30.0,
        prefix: str = "",
        shards: int | None = None,
        replicas: int | None = None,
    ) -> None:
        self._url, self._timeout_s, self._prefix = url, timeout_s, prefix
        self._made_with = {"shards": shards, "replicas": replicas}
        self._server = open_couchdb(url, timeout_s)

    def plain(self) -> Mapping[Period, CouchStore | SqlStore]:
        if self._server is not None:
            return {period: self._couch(self._server, doctype(period)) for period in Period}
        return SqlMeasures(SqlDatabase(self._url, self._timeout_s))

    def packs(self) -> dict[Series, CouchStore | SqlPacks]:
        if self._server is not None:
            return {series: self._couch(self._server, packed_doctype(series)) for series in Series}
        database = SqlDatabase(self._url, self._timeout_s, PACK_METADATA)
        return {series: SqlPacks(database, series) for series in Series}

    def stores(self, layout: Layout) -> dict[str, CouchStore | SqlStore | SqlPacks]:
        """What a layout keeps its documents in, each by its doctype."""
        if layout is Layout.PACKED:
            return {packed_doctype(series): store for series, store in self.packs().items()}
        return {doctype(period): store for period, store in self.plain().items()}

    def holds_any(self, layout: Layout) -> bool:
        """Whether any account has readings in this layout.  Raises StoreUnavailable."""
        stores = self.stores(layout)
        return not all(stores[kind].is_empty() for kind in readings_of(layout))

    def _couch(self, server: CouchServer, name: str) -> CouchStore:
        from worker.stores.measures.couchdb import (
            CouchStore,  # here alone: who keeps measures in SQL need not wait for it
        )

        return CouchStore(server, name, self._prefix, **self._made_with)


def open_couchdb(url: str, timeout_s: float) -> CouchServer | None:
    """The server of such a URL, for who sets it up; None where it names a SQL database.  Raises ValueError as above."""
    return _couch_server(url.removeprefix(_COUCHDB), timeout_s) if url.startswith(_COUCHDB) else None


def couchdb_user(url: str) -> tuple[str, str] | None:
    """User and password of such a URL, if it names them."""
    parts = urlsplit(url.removeprefix(_COUCHDB))
    return _credentials(parts.username, parts.password)


def _couch_server(url: str, timeout_s: float) -> CouchServer:
    from worker.stores.measures.couchdb_http import (
        CouchServer,  # here alone: who keeps measures in SQL need not wait for it
    )

    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:  # its text would repeat a piece of a password that holds '/' or '#'
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
