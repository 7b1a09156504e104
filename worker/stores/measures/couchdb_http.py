"""The one place that touches the ``couchdb`` package: requests out, answers in, outages in plain words.

The package is kept for its speed and guarded for its traps (``stack-trials.md``, 1.2, and its source): no
time-out by default, connections shared over a fork, a cache of GET answers, connections given back twice
after some errors, and 5xx answers hidden behind AttributeError, TypeError or ValueError.
"""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from typing import Any, Final

import couchdb
from couchdb import http

from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.per_process import PerProcess

Json = Any

_STATUS_OF: Final = {
    http.Unauthorized: 401,
    http.Forbidden: 403,
    http.ResourceNotFound: 404,
    http.ResourceConflict: 409,
    http.PreconditionFailed: 412,
}
_TRY_LATER: Final = {408, 409, 425, 429}  # client errors that time cures
_NOT_AN_ANSWER: Final = (AttributeError, TypeError, ValueError, OSError, HTTPException, http.RedirectLimit)


@dataclass(frozen=True, slots=True)
class CouchAnswer:
    """What CouchDB said: its body, or for a refusal (4xx) its ``error`` word and ``reason``, empty if not JSON."""

    status: int
    body: Json = field(default=None, repr=False)
    error: str = ""
    reason: str = ""

    @property
    def ok(self) -> bool:
        return self.status < 300


class CouchServer:
    """One CouchDB server.  Connects at first use, anew in each process; safe with threads.

    ``origin`` is its URL without user and password.  ``partitions`` says whether it knows partition reads, as
    far as the stores that share this object have found out.
    """

    def __init__(self, origin: str, credentials: tuple[str, str] | None, timeout_s: float) -> None:
        self.origin = origin.rstrip("/")
        self.partitions = True
        # no partial: it would show the password
        self._link = PerProcess(lambda: _make_link(self.origin, credentials, timeout_s))

    def __repr__(self) -> str:
        return f"CouchServer({self.origin!r})"

    def get(self, *path: str, **query: str | int) -> CouchAnswer:
        """Raises StoreUnavailable for all but a success and a refusal other than of our rights (401, 403)."""
        return self._request("GET", path, query)

    def put(self, *path: str, body: Json = None, **query: str | int) -> CouchAnswer:
        """As ``get``; a ``body`` must bear to be sent twice, as with ``post``."""
        return self._request("PUT", path, query, None if body is None else _to_json(body))

    def post(self, *path: str, body: Json, **query: str | int) -> CouchAnswer:
        """As ``get``.  After a lost connection the package sends it once more, so it must bear to be repeated.

        Raises also WriteRefused for a body that is no JSON.
        """
        return self._request("POST", path, query, _to_json(body))

    def _request(
        self, method: str, path: tuple[str, ...], query: dict[str, str | int], body: bytes | None = None
    ) -> CouchAnswer:
        server, connections = self._link.get()
        send = {"GET": server.resource.get_json, "PUT": server.resource.put_json, "POST": server.resource.post_json}
        extra = {} if body is None else {"body": body}
        try:
            status, _, answer = send[method](list(path), **extra, **query)
            if status >= 300 or not isinstance(answer, dict | list):  # a redirect, a proxy's page
                raise StoreUnavailable(f"{self.origin} does not answer as CouchDB does: check the address")
            connections.give_back_mine()
        except http.HTTPError as error:
            return self._refusal(error, path[0])
        except _NOT_AN_ANSWER as error:
            raise StoreUnavailable(f"CouchDB at {self.origin} {_outage(error)}: check that it runs") from error
        finally:
            connections.close_mine()  # none is left after a success
        return CouchAnswer(status, answer)

    def _refusal(self, failure: http.HTTPError, database: str) -> CouchAnswer:
        """A 4xx as an answer.  Raises StoreUnavailable for what is an outage, or one to the operator."""
        status, told = _status_and_text(failure)
        error, reason = told if isinstance(told, tuple) else ("", "")
        if status in (401, 403):
            raise StoreUnavailable(
                f"CouchDB at {self.origin} refuses this user on {database} ({status}): check user name and password; "
                "the user must be an admin, or a member of a database that an admin created"
            ) from failure
        if status in _TRY_LATER or not 400 <= status < 500:
            raise StoreUnavailable(f"CouchDB at {self.origin} answers {status} ({plain_word(error)})") from failure
        return CouchAnswer(status, error=str(error), reason=str(reason))


def _make_link(
    origin: str, credentials: tuple[str, str] | None, timeout_s: float
) -> tuple[couchdb.Server, _Connections]:
    session = http.Session(timeout=timeout_s, retry_delays=[0])  # [] makes the package fail
    session.cache = _NoCache()
    session.connection_pool = connections = _Connections(timeout_s)
    # Credentials are set here because the package parses them wrong when they hold ':' or '@'.
    resource = http.Resource(origin, session, headers={"Content-Type": "application/json"})
    resource.credentials = credentials
    return couchdb.Server(resource), connections


def _to_json(body: Json) -> bytes:
    try:
        return json.dumps(body, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError):
        raise WriteRefused("a document holds a value that JSON has no word for") from None


def _status_and_text(failure: http.HTTPError) -> tuple[int, Any]:
    if isinstance(failure, http.ServerError):
        status, told = failure.args[0]
        return int(status), told
    return _STATUS_OF[type(failure)], failure.args[0]


def plain_word(error: object) -> str:
    """CouchDB's short word for an error; anything else might repeat a document."""
    return error if isinstance(error, str) and re.fullmatch(r"[a-z_]{1,40}", error) else "an error without a name"


def _outage(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "does not answer in time"
    if isinstance(error, OSError):
        return f"can't be reached ({error.strerror or type(error).__name__})"
    return "gives a broken answer"


class _NoCache:
    """In place of the package's cache of GET answers: each read shows what is stored now."""

    def get(self, url: str) -> None:
        return None

    def put(self, url: str, response: object) -> None:
        return None

    def remove(self, url: str) -> None:
        return None


class _Connections(http.ConnectionPool):  # type: ignore[misc]  # the package is untyped
    """The package's pool, but a connection goes back when a request is over, once, and only after a success.

    By itself the package gives a connection back twice after some error pages, so that two threads would read
    each other's answers; and after a time-out it forgets to close it.
    """

    def __init__(self, timeout_s: float) -> None:
        super().__init__(timeout_s)
        self._mine = threading.local()

    def get(self, url: str) -> HTTPConnection:
        connection: HTTPConnection = super().get(url)
        self._taken().append((url, connection))
        return connection

    def release(self, url: str, conn: HTTPConnection) -> None:
        """Nothing: this is the call that comes too early or twice."""

    def give_back_mine(self) -> None:
        for url, connection in self._hand_over():
            super().release(url, connection)

    def close_mine(self) -> None:
        for _, connection in self._hand_over():
            connection.close()

    def _taken(self) -> list[tuple[str, HTTPConnection]]:
        if not hasattr(self._mine, "taken"):
            self._mine.taken = []
        taken: list[tuple[str, HTTPConnection]] = self._mine.taken
        return taken

    def _hand_over(self) -> list[tuple[str, HTTPConnection]]:
        taken, self._mine.taken = self._taken(), []
        return taken


# What CouchDB's administrator does once: system databases, ours, and a user who may use these five and no more.

SYSTEM_DATABASES: Final = ("_users", "_replicator")


def create_system_database(admin: CouchServer, name: str) -> str:
    """``made`` or ``there``."""
    answer = admin.put(name)
    if answer.ok or answer.status == 412:  # 412: it was there
        return "made" if answer.ok else "there"
    raise _refused(f"database {name} can't be created", answer)


def set_up_user(admin: CouchServer, user: CouchServer, name: str, password: str) -> str:
    """The user ``name``, as whom ``user`` speaks, can log in: ``made``, ``changed`` or ``there``."""
    found = _or_none(admin, "_users", f"org.couchdb.user:{name}")
    if found is not None and _logs_in(user):
        return "there"
    document = {**(found or {"name": name, "type": "user", "roles": []}), "password": password}
    answer = admin.put("_users", f"org.couchdb.user:{name}", body=document)
    if not answer.ok:
        raise _refused(f"user {name} can't be written", answer)
    return "made" if found is None else "changed"


def admit(admin: CouchServer, database: str, name: str) -> str:
    """``name`` may read and write documents of ``database``, nobody else but admins may: ``made`` or ``there``.

    A member can't write design documents, which is where CouchDB runs code.
    """
    wanted = {"admins": {"names": [], "roles": ["_admin"]}, "members": {"names": [name], "roles": []}}
    if _or_none(admin, database, "_security") == wanted:
        return "there"
    answer = admin.put(database, "_security", body=wanted)
    if not answer.ok:
        raise _refused(f"the members of {database} can't be set", answer)
    return "made"


def _or_none(server: CouchServer, *path: str) -> dict[str, Any] | None:
    answer = server.get(*path)
    if answer.status == 404:
        return None
    if not answer.ok or not isinstance(answer.body, dict):
        raise _refused(f"{path[0]} can't be read", answer)
    return answer.body


def _logs_in(user: CouchServer) -> bool:
    try:
        return user.get("_session").ok  # refuses a wrong password, asks for no right
    except StoreUnavailable:  # the admin has just been served, so it is the password
        return False


def _refused(what: str, answer: CouchAnswer) -> WriteRefused:
    return WriteRefused(f"CouchDB: {what}: it answers {answer.status}")
