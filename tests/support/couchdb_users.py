"""Users of a CouchDB-protocol server that a test creates and deletes again, because a real server keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from worker.stores.measures import open_couchdb
from worker.stores.measures.couchdb import SYSTEM_DATABASES, read_or_none


def user_url(url: str, name: str, password: str) -> str:
    """Return the URL of the server for this user instead of its administrator."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{name}:{password}@{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def new_user(url: str, name: str) -> Iterator[None]:
    """Delete the user at the end; fail at once if another user has this name."""
    admin = open_couchdb(url, 30)
    assert admin is not None
    path = (SYSTEM_DATABASES[0], f"org.couchdb.user:{name}")
    assert read_or_none(admin, *path) is None, f"this CouchDB has a user {name} already: name another one"
    try:
        yield
    finally:
        if user := read_or_none(admin, *path):
            admin.request("PUT", *path, body={"_id": user["_id"], "_rev": user["_rev"], "_deleted": True})
