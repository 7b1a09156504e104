"""The measure store for a URL: CouchDB in production, or SQL through SQLAlchemy on one machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from worker.domain.documents import packed_doctype
from worker.domain.packing import PACKED_SERIES, UNPACKED_DOCTYPES
from worker.domain.series import Doctype
from worker.stores.measures.base import Layout
from worker.stores.measures.instrumented import InstrumentedStore

if TYPE_CHECKING:
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
) -> InstrumentedStore:
    """Return the measure store; connects to nothing yet.

    The URL is ``couchdb+http://user:password@host:5984/``, ``couchdb+https://…`` or SQLAlchemy's.  ``prefix`` goes
    before the names of CouchDB databases; ``shards`` and ``replicas`` apply when these are created.  ``guarded``: the
    store refuses to work where the other layout holds readings.  Raises ValueError, in one line that does not repeat
    the URL, which may hold a password.
    """
    # Each store is imported where it is used, so that a system with SQL does not load CouchDB's package.
    if (server := open_couchdb(url, timeout_s)) is None:
        from worker.stores.measures.sql import SqlStore

        store = SqlStore(url, timeout_s)
        if layout == Layout.PACKED:
            raise ValueError("RELEVE_LAYOUT=packed needs CouchDB; in an SQL database, unset it")
        return InstrumentedStore(store)
    from worker.stores.measures.couchdb import CouchDatabase, CouchStore
    from worker.stores.measures.packed import PackedStore

    def database(name: str) -> CouchDatabase:
        return CouchDatabase(server, name, prefix, shards=shards, replicas=replicas)

    plain = {doctype: database(doctype.full_name) for doctype in Doctype}
    packs = {series: database(packed_doctype(series)) for series in PACKED_SERIES}
    unpacked = {doctype: plain[doctype] for doctype in UNPACKED_DOCTYPES}
    guard = Layout(layout) if guarded else None
    if layout == Layout.PACKED:
        return InstrumentedStore(
            PackedStore(packs, CouchStore(unpacked)), [plain[series.inputs] for series in PACKED_SERIES], guard
        )
    return InstrumentedStore(CouchStore(plain), list(packs.values()), guard)


def open_couchdb(url: str, timeout_s: float) -> CouchServer | None:
    """Return the CouchDB server of a measures URL, for its set-up; None for a SQL database.

    Raises ValueError, as ``open_measures`` does.
    """
    if not url.startswith(_COUCHDB):
        return None
    from worker.stores.measures.couchdb_http import CouchServer

    try:
        parts = urlsplit(url.removeprefix(_COUCHDB))
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
    return CouchServer(origin, couchdb_user(url), timeout_s)


def couchdb_user(url: str) -> tuple[str, str] | None:
    """Return the user and password in a CouchDB measures URL, if any."""
    parts = urlsplit(url.removeprefix(_COUCHDB))
    return None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))
