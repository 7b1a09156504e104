"""The measure stores, opened by their URL: CouchDB in production, or SQL through SQLAlchemy on one machine.

An opened store counts and times its requests, and refuses to work if the measures are stored in a layout other than the
configured one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from worker import tracing
from worker.domain.documents import packed_doctype
from worker.domain.packing import PACKED_SERIES, UNPACKED_DOCTYPES
from worker.domain.series import Doctype
from worker.errors import StoreUnavailable, WriteRefused
from worker.metrics import STORE_ERRORS, STORE_SECONDS
from worker.stores.measures import measure_store
from worker.stores.measures.measure_store import DocumentsByDoctype, Layout, MeasureStore, Ranges, Rows

if TYPE_CHECKING:
    from worker.stores.measures.couchdb import CouchDatabase, CouchServer


RECHECK_S: Final = 60.0
# The wait that the error for a wrong layout asks for. A task that gets the error isn't retried, because the wait is too
# long (``tasks.base``): a later scheduled run tries again.
_LAYOUT_DELAY_S: Final = 900.0
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
    """Return the measure store, which connects only at its first use.

    The URL is ``couchdb+http://user:password@host:5984/``, ``couchdb+https://…`` or a URL of SQLAlchemy. ``prefix``
    precedes the names of CouchDB databases; ``shards`` and ``replicas`` apply when these databases are created.
    ``guarded``: the store refuses to work if the other layout has readings. Raises ValueError with one line that
    doesn't repeat the URL, which may contain a password.
    """
    # Each store is imported only when it is used, so that a system with SQL doesn't load CouchDB's package.
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
    """Return the CouchDB server of a measures URL; None if the URL names a SQL database.

    Raises ValueError like ``open_measures``.
    """
    if not url.startswith(_COUCHDB):
        return None
    from worker.stores.measures.couchdb import CouchServer

    try:
        parts = urlsplit(url.removeprefix(_COUCHDB))
        host, port = parts.hostname, parts.port
    except ValueError:  # The error's text would repeat a part of a password that contains '/' or '#'.
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
    """Return the user and password in a CouchDB measures URL; None if the URL has none."""
    parts = urlsplit(url.removeprefix(_COUCHDB))
    return None if parts.username is None else (unquote(parts.username), unquote(parts.password or ""))


class InstrumentedStore:
    """A wrapper around ``store`` that measures its requests and checks the layout.

    ``others``: the databases in which the other layout would keep its readings. ``layout``: the configured layout; None
    for no check. The wrapper refuses to work if ``others`` contain readings. It checks this before its first request.
    Another process may migrate the measures later, so the wrapper also checks after an empty read, at most once a
    minute.
    """

    def __init__(
        self,
        store: MeasureStore,
        others: Sequence[CouchDatabase] = (),
        layout: Layout | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._others, self._layout, self._clock = store, others, layout, clock
        # The time from which an empty read checks the layout again; negative before the first check.
        self._recheck_at = float("inf") if layout is None else -1.0

    def __repr__(self) -> str:
        return repr(self._store)

    def read(self, account_id: str, ranges: Ranges, limit: int | None = None) -> DocumentsByDoctype:
        with self._request("read"):
            documents = self._store.read(account_id, ranges, limit)
        if not any(documents.values()):
            self._check_layout()
        return documents

    def write(self, documents: Rows, removals: Rows = measure_store.NO_ROWS) -> DocumentsByDoctype:
        with self._request("write"):
            return self._store.write(documents, removals)

    def erase(self, account_id: str) -> int:
        with self._request("erase"):
            return self._store.erase(account_id)

    def empty_log(self) -> None:
        self._store.empty_log()

    def prepare(self) -> dict[str, bool]:
        with self._request("create"):
            return self._store.prepare()

    def close(self) -> None:
        self._store.close()

    def has_other_layout(self) -> bool:
        """Return whether the other layout has readings. This store can't see them, so they would be fetched again."""
        return not all(database.is_empty() for database in self._others)

    @contextmanager
    def _request(self, operation: str) -> Iterator[None]:
        """Measure the duration of a request, and count it if it fails. Before the first request, check the layout."""
        if self._recheck_at < 0:
            self._check_layout()
        errors = STORE_ERRORS.labels("measures").count_exceptions((StoreUnavailable, WriteRefused))
        with errors, STORE_SECONDS.labels(operation).time(), tracing.span("measures", operation=operation):
            yield

    def _check_layout(self) -> None:
        """Raise StoreUnavailable, with one line that says what to do, if the other layout has readings."""
        now = self._clock()
        if self._layout is None or now < self._recheck_at:
            return
        if self.has_other_layout():
            raise StoreUnavailable(measure_store.wrong_layout(self._layout), retry_after_s=_LAYOUT_DELAY_S)
        self._recheck_at = now + RECHECK_S
