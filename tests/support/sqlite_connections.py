"""Connections to SQLite files: whether they wait for the disk, and whether somebody closed them."""

from __future__ import annotations

import sqlite3
import sqlite3.dbapi2
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Engine, event


def commit_without_disk() -> None:
    """Let commits not wait for the disk from here on: that takes milliseconds, and no test cuts the power."""
    event.listen(Engine, "connect", _commit_without_disk)


@contextmanager
def committing_to_disk() -> Iterator[None]:
    """Let commits on connections that are opened meanwhile wait for the disk, as those of a service do."""
    event.remove(Engine, "connect", _commit_without_disk)
    try:
        yield
    finally:
        commit_without_disk()


def _commit_without_disk(connection: Any, _record: object) -> None:
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


@contextmanager
def recorded_connections() -> Iterator[list[sqlite3.Connection]]:
    """Yield the list of the connections that SQLAlchemy opens meanwhile.

    The list keeps them alive, so only code closes a connection, never the garbage collector.
    """
    connections: list[sqlite3.Connection] = []
    connect = sqlite3.dbapi2.connect

    def record(*arguments: Any, **options: Any) -> sqlite3.Connection:
        connections.append(connect(*arguments, **options))
        return connections[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite3.dbapi2, "connect", record)
        yield connections


def is_open(connection: sqlite3.Connection) -> bool:
    try:
        return connection.total_changes >= 0
    except sqlite3.ProgrammingError:
        return False


def assert_all_closed(connections: list[sqlite3.Connection]) -> None:
    """Check that there were connections and that all of them are closed; those left open are closed now."""
    assert connections
    left_open = [connection for connection in connections if is_open(connection)]
    files = [connection.execute("PRAGMA database_list").fetchone()[2] for connection in left_open]
    for connection in left_open:
        connection.close()
    assert files == [], files
