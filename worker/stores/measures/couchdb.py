"""CouchDB: the measure store in the plain layout, requests over HTTP, and the set-up of a server.

There is one database per doctype, partitioned by account if the server supports it. A database is created by its
first write. To find out whether the server has partitions, the store tries to read one, and the process remembers a
failure. An account is read in one request per doctype, and each doctype is written in one request per 500 documents.

    database   com-grandlyon-enedis-day
    document   {"_id": "k9x4w:2024-07-25", "_rev": "1-967a…", "load": 7.654321, "year": 2024, …}

Source: CouchDB 3.5 documentation, ``_all_docs``, ``_bulk_docs`` and partitioned databases.

No other module uses the ``couchdb`` package. It is fast, but has traps, which this module avoids (seen in the source of
version 1.2): no timeout by default, a cache of GET answers, connections that are returned to the pool twice after some
errors or stay open after a timeout, and 5xx answers that surface as AttributeError, TypeError or ValueError.
"""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final

from couchdb import http

from worker.domain.series import Doctype
from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures import measure_store
from worker.stores.measures.measure_store import Document, DocumentsByDoctype, MeasureStore, Ranges, Rows

Json = Any
_STATUS_OF: Final = {
    http.Unauthorized: 401,
    http.Forbidden: 403,
    http.ResourceNotFound: 404,
    http.ResourceConflict: 409,
    http.PreconditionFailed: 412,
}
MOST_BYTES: Final = 64 * 1024**2  # Far above the size of the longest read: three years of half-hours.
_TRY_LATER: Final = {408, 409, 425, 429}  # Client errors that pass with time.
_NOT_AN_ANSWER: Final = (AttributeError, TypeError, ValueError, OSError, HTTPException, http.RedirectLimit)
MOST_DOCUMENTS_A_REQUEST: Final = 500
# This limit is sent with each read: without one, a server with a cap on partition reads silently leaves out the rest.
_MOST_ROWS: Final = 1_000_000
# After this many rounds in a row that delete nothing, an erasure fails. One such round is normal: the package may have
# sent the deletion twice, and the second answer reports only conflicts.
_FRUITLESS_ROUNDS: Final = 3
# The first text is from CouchDB 3, the second from CouchDB 1 and 2 and pouchdb-server.
_NO_DATABASE: Final = {"Database does not exist.", "no_db_file"}
# Errors of single rows that are the server's fault; any other error except a conflict is a refusal.
_ROW_OUTAGES: Final = {"internal_server_error", "service_unavailable", "timeout", "unknown_error"}
_DATABASE_NAME: Final = re.compile(r"[a-z][a-z0-9_$()+-]*")
SYSTEM_DATABASES: Final = ("_users", "_replicator")
_OLDEST_VERSION: Final = 3
_STAND_IN: Final = "express-pouchdb"  # The name of pouchdb-server, which has its own version numbers.


class UserRefused(StoreUnavailable):
    """CouchDB refuses this user, or a request without a user (status 401 or 403)."""


class ServerUnsuitable(StoreUnavailable):
    """The server isn't CouchDB, or is older than version 3."""


@dataclass(frozen=True, slots=True)
class CouchAnswer:
    """An answer from CouchDB.

    A refusal (4xx) has no ``body``. If the refusal isn't JSON, ``error`` and ``reason`` are empty.
    """

    status: int
    body: Json = field(default=None, repr=False)
    error: str = ""
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.status < 300


class CouchStore(MeasureStore):
    """One database per doctype.

    There are no transactions: if a worker is killed between writing two doctypes, old totals stay until the next run
    computes them again.
    """

    def __init__(self, databases: Mapping[Doctype, CouchDatabase]) -> None:
        self._databases = databases

    def __repr__(self) -> str:
        return f"CouchStore({', '.join(map(repr, self._databases.values()))})"

    def read(self, account_id: str, ranges: Ranges, limit: int | None = None) -> DocumentsByDoctype:
        """Read one doctype after another, with one request for each."""
        return {doctype: self._databases[doctype].read(account_id, *keys, limit) for doctype, keys in ranges.items()}

    def write(self, documents: Rows, removals: Rows = measure_store.NO_ROWS) -> DocumentsByDoctype:
        """Write one doctype after another, with one request per 500 documents and removals."""
        lost: DocumentsByDoctype = {}
        for doctype in dict.fromkeys([*documents, *removals]):
            rows = [*documents.get(doctype, ()), *removals.get(doctype, ())]
            if lost.get(doctype.series.inputs):  # A reading lost its race, so its totals lose theirs, too.
                lost[doctype] = rows
                continue
            deletions = [deletion_of(document) for document in removals.get(doctype, ())]
            conflicts = self._databases[doctype].write([*documents.get(doctype, ()), *deletions]) if rows else []
            ids = {document["_id"] for document in conflicts}
            lost[doctype] = [document for document in rows if document["_id"] in ids]
        return lost

    def erase(self, account_id: str) -> int:
        """Erase totals before readings.

        The layout check of ``InstrumentedStore`` sees only readings. Erased last, they show an interrupted migration.
        """
        series = dict.fromkeys(doctype.series for doctype in self._databases)
        order = [doctype for name in series for doctype in reversed(name.doctypes)]
        return sum(self._databases[doctype].erase(account_id) for doctype in order)

    def prepare(self) -> dict[str, bool]:
        """Create the missing databases with the configured numbers of shards and replicas."""
        return {doctype.full_name: database.create_if_missing() for doctype, database in self._databases.items()}


class CouchDatabase:
    """One database of CouchDB; the account id is the partition in each ``_id``."""

    def __init__(
        self,
        server: CouchServer,
        doctype: str,
        prefix: str = "",
        *,
        shards: int | None = None,
        replicas: int | None = None,
    ) -> None:
        """Name the database, without connecting to the server.

        ``prefix`` separates the databases of several installations. ``shards`` (q) and ``replicas`` (n) apply when the
        database is created; None leaves them to the server. Raises ValueError for a name that CouchDB refuses.
        """
        self.name = prefix + measure_store.database_name(doctype)
        if not _DATABASE_NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is not a valid database name: use a-z, 0-9 and dashes, and begin with a letter"
            )
        self._server = server
        self._sharding = {name: count for name, count in (("q", shards), ("n", replicas)) if count is not None}
        self._partitioned = True
        self._is_missing = False  # Whether the last answer said that the database doesn't exist.

    def __repr__(self) -> str:
        return f"CouchDatabase({self._server.origin}/{self.name})"

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        """Return the account's documents with ``first_key <= key < end_key``, in key order, with one request."""
        if first_key >= end_key:  # CouchDB refuses such a range.
            return []
        rows = self._read_rows(account_id, first_key, end_key, limit or _MOST_ROWS, include_docs="true")
        try:
            return [row["doc"] for row in rows if row["doc"]]  # ``doc`` is null if the document was erased meanwhile.
        except (KeyError, TypeError):
            raise self._unexpected_answer() from None

    def look_up(self, ids: Sequence[str]) -> list[Document]:
        """Return the existing documents with these ids, of any accounts, with one request per 500 ids.

        The row of a document that never existed has ``error``; the row of a deleted document has ``doc`` null. Source:
        CouchDB 3.5, POST /{db}/_all_docs.
        """
        documents: list[Document] = []
        for first in range(0, len(ids), MOST_DOCUMENTS_A_REQUEST):
            keys = ids[first : first + MOST_DOCUMENTS_A_REQUEST]
            answer = self._server.request("POST", self.name, "_all_docs", body={"keys": keys}, include_docs="true")
            rows = self._rows_of(answer)
            if not self._is_missing and len(rows) != len(keys):
                raise self._unexpected_answer()
            try:
                documents += [row["doc"] for row in rows if "error" not in row and row["doc"]]
            except (KeyError, TypeError):
                raise self._unexpected_answer() from None
        return documents

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """Write documents, 500 per request, and return those that another writer changed first.

        A document with ``_deleted`` is deleted. The package may send a request twice when the connection breaks. The
        documents are then returned, too, which is harmless, because the store already has their content.
        """
        lost: list[Document] = []
        for first in range(0, len(documents), MOST_DOCUMENTS_A_REQUEST):
            batch = documents[first : first + MOST_DOCUMENTS_A_REQUEST]
            if conflicts := self._bulk(batch):
                lost += [document for document in batch if document["_id"] in conflicts]
        return lost

    def erase(self, account_id: str) -> int:
        """Delete all documents of the account and return their number. Two requests delete 500 documents."""
        erased = failed_rounds = 0
        while rows := self._read_rows(account_id, "", None, MOST_DOCUMENTS_A_REQUEST):
            try:
                stubs = [deletion_of({"_id": row["id"], "_rev": row["value"]["rev"]}) for row in rows]
            except (KeyError, TypeError):
                raise self._unexpected_answer() from None
            count = len(stubs) - len(self.write(stubs))
            erased += count
            failed_rounds = 0 if count else failed_rounds + 1
            if failed_rounds == _FRUITLESS_ROUNDS:
                raise StoreUnavailable(f"{self.name}: documents keep changing while they are erased, try again")
        return erased

    def create_if_missing(self) -> bool:
        """Create the database, with its shards and replicas; return True if it was missing, False if it existed.

        In a cluster, status 202 means that some nodes don't know of the new database yet. Source: CouchDB 3.5, PUT
        /{db}. CouchDB answers 401 to a user who isn't an admin, whether the database exists or not. A read then shows
        whether it exists.
        """
        try:
            answer = self._server.request("PUT", self.name, partitioned="true", **self._sharding)
        except UserRefused as refusal:
            if read_or_none(self._server, self.name) is None:  # Raises UserRefused, too, for a wrong password.
                raise StoreUnavailable(
                    f"CouchDB's database {self.name} is missing, and this user may not create it: run `releve migrate` "
                    "with RELEVE_MEASURES_ADMIN_URL"
                ) from refusal
            self._is_missing = False
            return False
        if not answer.ok and answer.status != 412:  # 412: the database exists already.
            reason = f"CouchDB answers {answer.status}"
            if answer.status == 400 and self._sharding:
                reason += "; check RELEVE_COUCHDB_SHARDS and RELEVE_COUCHDB_REPLICAS"
            raise WriteRefused(f"database {self.name} can't be created: {reason}")
        self._is_missing = False
        return answer.ok

    def is_empty(self) -> bool:
        """Return whether the database has no documents or doesn't exist; this call creates nothing."""
        answer = self._server.request("GET", self.name, "_all_docs", limit=1)
        if answer.status == 404:
            return True
        if not answer.ok or not isinstance(answer.body, dict):
            raise self._unexpected_answer()
        return not answer.body.get("rows")

    def _read_rows(self, account_id: str, first_key: str, end_key: str | None, limit: int, **query: str) -> list[Any]:
        """Return the rows of ``_all_docs`` with ``first_key <= key < end_key``; none if the database is missing.

        If there are partitions, only the account's partition is queried, so the other shards are not read.
        """
        # In the sort order, ';' directly follows ':'.
        end_id = f"{account_id};" if end_key is None else f"{account_id}:{end_key}"
        bounds = {"startkey": json.dumps(f"{account_id}:{first_key}"), "endkey": json.dumps(end_id)}
        everything: dict[str, str | int] = {**query, **bounds, "inclusive_end": "false", "limit": limit}
        if not (self._server.partitions and self._partitioned):
            return self._rows_of(self._server.request("GET", self.name, "_all_docs", **everything))
        answer = self._server.request("GET", self.name, "_partition", account_id, "_all_docs", **everything)
        if answer.ok or answer.reason in _NO_DATABASE:
            return self._rows_of(answer)
        whole = self._server.request("GET", self.name, "_all_docs", **everything)
        if whole.ok and answer.status == 400:  # An administrator created the database without partitions.
            self._partitioned = False
        elif whole.ok:  # The path of a partition doesn't exist before CouchDB 3.
            self._server.partitions = False
        return self._rows_of(whole)

    def _rows_of(self, answer: CouchAnswer) -> list[Any]:
        self._is_missing = answer.status == 404 and answer.error == "not_found"
        if self._is_missing:
            return []
        if not answer.ok:
            raise StoreUnavailable(f"{self.name}: CouchDB answers {answer.status} to a read: check the address")
        if not isinstance(answer.body, dict) or not isinstance(rows := answer.body.get("rows"), list):
            raise self._unexpected_answer()
        return rows

    def _bulk(self, documents: Sequence[Document]) -> set[str]:
        """Write at most 500 documents in one request and return the ids of those that another writer changed first.

        ``_bulk_docs`` is not atomic: it answers 201 even if single documents failed, so each row is checked.
        """
        if self._is_missing:
            self.create_if_missing()
        answer = self._server.request("POST", self.name, "_bulk_docs", body={"docs": documents})
        if answer.status == 404:
            self.create_if_missing()
            answer = self._server.request("POST", self.name, "_bulk_docs", body={"docs": documents})
        if answer.status == 404:
            raise StoreUnavailable(f"{self.name} can't be created or written to: check the address of CouchDB")
        if not answer.ok:  # The request is too large or malformed, and would fail again.
            raise WriteRefused(f"bulk write to {self.name}: CouchDB answers {answer.status}")
        try:
            failed = {row["id"]: error_name(row["error"]) for row in answer.body if "error" in row}
            answered = {row["id"] for row in answer.body}
        except (KeyError, TypeError):
            raise self._unexpected_answer() from None
        errors = set(failed.values()) - {"conflict"}
        if refused := errors - _ROW_OUTAGES:
            raise WriteRefused(f"bulk write to {self.name}: {', '.join(sorted(refused))}")
        if errors or answered != {document["_id"] for document in documents}:
            reason = ", ".join(sorted(errors)) or "the answer lacks some documents"
            raise StoreUnavailable(f"bulk write to {self.name}: {reason}")
        return set(failed)

    def _unexpected_answer(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self.name}: the answer is not from CouchDB: check the address")


def deletion_of(document: Document) -> Document:
    """Return the stub that deletes exactly this revision of a document.

    CouchDB 3.5 answers "ok" even if the document never existed.
    """
    return {"_id": document["_id"], "_rev": document["_rev"], "_deleted": True}


class CouchServer:
    """One CouchDB server, which threads can share; each process opens its own connections at first use.

    ``origin`` is its URL without user and password. ``partitions`` becomes false as soon as a read shows that the
    server has no partitioned databases.
    """

    def __init__(self, origin: str, credentials: tuple[str, str] | None, timeout_s: float) -> None:
        self.origin = origin.rstrip("/")
        self.partitions = True
        self._timeout_s = timeout_s
        # A closure, because the ``repr`` of an attribute would show the password.
        self._credentials: Callable[[], tuple[str, str] | None] = lambda: credentials
        self._of_thread = threading.local()  # The connections of each thread, by process id.

    def __repr__(self) -> str:
        return f"CouchServer({self.origin!r})"

    def request(self, method: str, *path: str, body: Json = None, **query: str | int) -> CouchAnswer:
        """Send a request. Return the answer if it is a success, or a refusal (4xx) that a retry would meet again.

        After a lost connection the package sends the request again, so a repeat must be harmless. Raises UserRefused
        for 401 and 403, StoreUnavailable for any other answer or none, and WriteRefused for a body that can't be JSON.
        """
        # Two threads or processes on one connection would read each other's answers. A child process leaves the entry
        # of its parent alone: dropping that entry could close a connection that the parent uses.
        resource = vars(self._of_thread).get(str(os.getpid())) or self._connect()
        extra = {} if body is None else {"body": _to_json(body)}
        succeeded = False
        try:
            # The package has one function for each method: get_json, put_json and post_json.
            status, _, answer = getattr(resource, f"{method.lower()}_json")(list(path), **extra, **query)
            if status >= 300 or not isinstance(answer, dict | list | int):  # A redirect, or a proxy's HTML page.
                raise StoreUnavailable(f"{self.origin} does not answer like CouchDB: check the address")
            succeeded = True
        except http.HTTPError as error:
            return self._refusal(error, path[0])
        except _NOT_AN_ANSWER as error:
            raise StoreUnavailable(f"CouchDB at {self.origin} {_outage(error)}: check that it runs") from error
        finally:
            if not succeeded:  # The rest of an answer may still be unread in the connection.
                del vars(self._of_thread)[str(os.getpid())]
                resource.session.connection_pool.close()
        return CouchAnswer(status, answer)

    def _connect(self) -> Any:
        """Return this thread's connection to the server, which opens with the first request."""
        session = http.Session(timeout=self._timeout_s, retry_delays=[0])  # An empty list makes the package fail.
        session.cache, session.connection_pool = _NoCache(), _Connection(self._timeout_s)
        # Credentials are set here, because the package misreads credentials with ':' or '@' in a URL.
        resource = http.Resource(self.origin, session, headers={"Content-Type": "application/json"})
        resource.credentials = self._credentials()
        return vars(self._of_thread).setdefault(str(os.getpid()), resource)

    def _refusal(self, failure: http.HTTPError, database: str) -> CouchAnswer:
        """Return the failure as a CouchAnswer if a retry would meet it again.

        Raises UserRefused for 401 and 403, and StoreUnavailable for any other failure.
        """
        is_other = isinstance(failure, http.ServerError)
        status, text = failure.args[0] if is_other else (_STATUS_OF[type(failure)], failure.args[0])
        place = database or "its first page"
        error, reason = text if isinstance(text, tuple) else ("", "")
        if status in (401, 403):
            raise UserRefused(
                f"CouchDB at {self.origin} refuses this user on {place} ({status}): check user name and password; "
                "the user must be an admin, or a member of a database that an admin created"
            ) from failure
        if status in _TRY_LATER or not 400 <= status < 500:
            raise StoreUnavailable(f"CouchDB at {self.origin} answers {status} ({error_name(error)})") from failure
        return CouchAnswer(status, error=str(error), reason=str(reason))


def _to_json(body: Json) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError):
        raise WriteRefused("a document has a value that JSON can't represent") from None


def error_name(error: object) -> str:
    """Return CouchDB's short name of an error. Any other text is left out, because it might quote a document."""
    return error if isinstance(error, str) and re.fullmatch(r"[a-z_]{1,40}", error) else "an error without a name"


def _outage(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, OSError):
        return f"can't be reached ({error.strerror or type(error).__name__})"
    return "gives a broken answer"


class _NoCache(http.Cache):  # type: ignore[misc]  # The package has no types.
    """A replacement for the package's cache of GET answers that stores nothing."""

    def put(self, url: str, response: object) -> None:
        """Store nothing."""


class _BoundedResponse(HTTPResponse):
    """An answer limited to ``MOST_BYTES``; the package itself would read an answer of any size."""

    def read(self, amt: int | None = None) -> bytes:
        if amt is not None or 0 <= (self.length or -1) <= MOST_BYTES:
            return super().read(amt)  # ``read(None)`` raises if an answer breaks off; ``read(n)`` doesn't.
        body = super().read(MOST_BYTES + 1)
        if len(body) > MOST_BYTES:
            raise HTTPException(f"an answer of more than {MOST_BYTES} bytes")
        return body


class _Connection(http.ConnectionPool):  # type: ignore[misc]
    """A replacement for the package's connection pool: one connection, for one thread and one request at a time.

    The package's own pool returns a connection twice after some error pages, and doesn't close it after a timeout.
    """

    def get(self, url: str) -> HTTPConnection:
        connection: HTTPConnection = super().get(url)
        connection.response_class = _BoundedResponse
        super().release(url, connection)
        return connection

    def release(self, url: str, conn: HTTPConnection) -> None:
        """Do nothing, because the connection never left the pool."""

    def close(self) -> None:
        """Close the connection, even if an answer still uses it."""
        for connection in (one for connections in self.conns.values() for one in connections):
            connection.close()


def check_server(server: CouchServer) -> str:
    """Return the server's version.

    Raises ServerUnsuitable if the server isn't CouchDB or is older than version 3, and StoreUnavailable if there is no
    answer.
    """
    welcome = server.request("GET", "").body
    known = isinstance(welcome, dict) and ("couchdb" in welcome or _STAND_IN in welcome)
    if not known:
        raise ServerUnsuitable(
            f"the server at {server.origin} is not CouchDB: check the address in RELEVE_MEASURES_URL"
        )
    version = str(welcome.get("version") or "of unknown version")
    major = re.match(r"[0-9]{1,4}", version)
    if _STAND_IN not in welcome and major and int(major[0]) < _OLDEST_VERSION:
        raise ServerUnsuitable(
            f"CouchDB {version[:20]} at {server.origin} is too old: update it to CouchDB {_OLDEST_VERSION} or newer"
        )
    return version


def create_system_database(admin: CouchServer, name: str, replicas: int | None = None) -> str:
    """Create a system database with ``replicas`` (n; None: the server's default); return ``made`` or ``there``.

    ``there``: the database existed already.
    """
    answer = admin.request("PUT", name, **({} if replicas is None else {"n": replicas}))
    if answer.ok or answer.status == 412:  # 412: the database exists already.
        return "made" if answer.ok else "there"
    raise _write_refused(f"database {name} can't be created", answer)


def set_up_user(admin: CouchServer, user: CouchServer, name: str, password: str) -> str:
    """Create the user ``name``, or change its password if the connection ``user`` can't log in.

    Returns ``made``, ``changed``, or ``there`` if nothing was to be done.
    """
    stored = read_or_none(admin, "_users", f"org.couchdb.user:{name}")
    if stored is not None and _can_log_in(user):
        return "there"
    document = {**(stored or {"name": name, "type": "user", "roles": []}), "password": password}
    answer = admin.request("PUT", "_users", f"org.couchdb.user:{name}", body=document)
    if not answer.ok:
        raise _write_refused(f"user {name} can't be written", answer)
    return "made" if stored is None else "changed"


def grant_access(admin: CouchServer, database: str, name: str) -> str:
    """Let only this user and the server's admins use ``database``; return ``made`` or ``there``.

    ``there``: the access was already set. The user becomes a member of the database: it may read and write documents,
    but not write design documents. These contain code that CouchDB runs.
    """
    security = {"admins": {"names": [], "roles": ["_admin"]}, "members": {"names": [name], "roles": []}}
    if read_or_none(admin, database, "_security") == security:
        return "there"
    answer = admin.request("PUT", database, "_security", body=security)
    if not answer.ok:
        raise _write_refused(f"the members of {database} can't be set", answer)
    return "made"


def limit_revisions(admin: CouchServer, database: str, count: int) -> str:
    """Let CouchDB remember ``count`` old revisions of each document; return ``changed`` or ``there``.

    ``there``: the limit was already set. Returns ``left`` if the server has no such limit, or if ``admin`` may not set
    it. Source: CouchDB 3.5, PUT /{db}/_revs_limit.
    """
    answer = admin.request("GET", database, "_revs_limit")
    if answer.status == 404:
        return "left"
    if answer.ok and answer.body == count:
        return "there"
    if answer.ok:
        try:
            answer = admin.request("PUT", database, "_revs_limit", body=count)
        except UserRefused:
            return "left"  # A member of the database may write documents, but may not change the limit.
    if not answer.ok:
        raise _write_refused(f"the limit of revisions of {database} can't be set", answer)
    return "changed"


def read_or_none(server: CouchServer, *path: str) -> dict[str, Any] | None:
    """Return the JSON object at a path; None for 404.

    Raises WriteRefused for any other answer, and StoreUnavailable like ``CouchServer.request``.
    """
    answer = server.request("GET", *path)
    if answer.status == 404:
        return None
    if not answer.ok or not isinstance(answer.body, dict):
        raise _write_refused(f"{path[0]} can't be read", answer)
    return answer.body


def _can_log_in(user: CouchServer) -> bool:
    try:
        return user.request("GET", "_session").ok  # CouchDB checks the password here, but requires no rights.
    except UserRefused:
        return False


def _write_refused(failure: str, answer: CouchAnswer) -> WriteRefused:
    return WriteRefused(f"CouchDB: {failure}: it answers {answer.status}")
