"""The real CouchDB that RELEVE_TEST_COUCHDB_URL names: tests and benchmarks delete there what they made, nothing else.

Test processes that run side by side share it, and all use the product's own names of databases.  So each gets databases
of its own, behind a relay that puts a prefix before their names: to its user they are an empty server.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final
from urllib.parse import urlsplit

import couchdb

from drill.faults import CouchdbRelay

VARIABLE: Final = "RELEVE_TEST_COUCHDB_URL"
_ALL_DATABASES: Final = "/_all_dbs"


def real_couchdb_url() -> str | None:
    """Return ``couchdb+http://USER:PASSWORD@HOST:PORT/`` of an administrator; None if no real CouchDB is named."""
    url = os.environ.get(VARIABLE)
    if not url:
        return None
    url = url if url.startswith("couchdb+") else f"couchdb+{url}"
    if urlsplit(url).scheme != "couchdb+http":
        raise ValueError(f"{VARIABLE} must be http://USER:PASSWORD@HOST:PORT/: a relay stands before it")
    return f"{url.rstrip('/')}/"


class _OwnDatabases(CouchdbRelay):
    """A relay that puts ``prefix`` before the names of databases, but for those of the system, which all share."""

    def __init__(self, target_url: str) -> None:
        super().__init__(target_url)
        self.prefix = f"releve-test-{uuid.uuid4().hex[:12]}-"

    def target_path(self, path: str) -> str:
        name = path.removeprefix("/")
        return path if name[:1] in ("", "_", "?") else f"/{self.prefix}{name}"

    def client_content(self, path: str, content: bytes) -> bytes:
        if path.partition("?")[0] != _ALL_DATABASES or not content.startswith(b"["):
            return content
        own = [name.removeprefix(self.prefix) for name in json.loads(content) if name.startswith(self.prefix)]
        return json.dumps(own).encode()


@contextmanager
def own_databases(url: str) -> Iterator[str]:
    """Yield the URL of what looks like an empty CouchDB; its databases are deleted at the end."""
    with _OwnDatabases(url) as relay:
        try:
            yield relay.url
        finally:
            delete_databases(relay.url)


@contextmanager
def whole_server(url: str) -> Iterator[str]:
    """Yield the server itself, for measurements; it must be empty, and is so again at the end.  Raises RuntimeError."""
    if names := database_names(url):
        raise RuntimeError(f"{VARIABLE} must name an empty CouchDB here, and this one holds {', '.join(names[:3])}")
    try:
        yield url
    finally:
        delete_databases(url)


def database_names(url: str) -> list[str]:
    """Return the names of all databases but the system's."""
    return [name for name in couchdb.Server(url.removeprefix("couchdb+")) if not name.startswith("_")]


def delete_databases(url: str) -> None:
    """Delete all databases but the system's."""
    server = couchdb.Server(url.removeprefix("couchdb+"))
    for name in database_names(url):
        server.delete(name)
