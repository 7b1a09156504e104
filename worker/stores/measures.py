"""The measure stores behind one URL: CouchDB in production, SQL through SQLAlchemy embedded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from worker.domain.documents import doctype
from worker.domain.readings import Period
from worker.stores.consumption import Measures
from worker.stores.counted import CountedStore
from worker.stores.sql import SqlStore
from worker.stores.sql_database import SqlDatabase

if TYPE_CHECKING:
    from worker.stores.couch_adapter import CouchServer

_COUCHDB: Final = "couchdb+"


def open_measures(
    url: str,
    *,
    timeout_s: float = 30.0,
    prefix: str = "",
    shards: int | None = None,
    replicas: int | None = None,
) -> Measures:
    """One store a doctype at ``couchdb+http://user:password@host:5984/``, ``couchdb+https://…`` or a SQLAlchemy URL.

    Connects to nothing yet.  ``prefix`` goes before the names of CouchDB databases, ``shards`` and ``replicas`` are
    theirs when they are made.  Raises ValueError, in one line that does not repeat the URL, for it may hold a password.
    """
    if (server := open_couchdb(url, timeout_s)) is not None:
        from worker.stores.couch import CouchStore

        return {
            period: CountedStore(CouchStore(server, doctype(period), prefix, shards=shards, replicas=replicas))
            for period in Period
        }
    database = SqlDatabase(url, timeout_s)
    return {period: CountedStore(SqlStore(database, period)) for period in Period}


def open_couchdb(url: str, timeout_s: float) -> CouchServer | None:
    """The server of such a URL, for who sets it up; None where it names a SQL database.  Raises ValueError as above."""
    return _couch_server(url.removeprefix(_COUCHDB), timeout_s) if url.startswith(_COUCHDB) else None


def couchdb_user(url: str) -> tuple[str, str] | None:
    """User and password of such a URL, if it names them."""
    parts = urlsplit(url.removeprefix(_COUCHDB))
    return _credentials(parts.username, parts.password)


def _couch_server(url: str, timeout_s: float) -> CouchServer:
    from worker.stores.couch_adapter import CouchServer  # here alone: who keeps measures in SQL need not wait for it

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
