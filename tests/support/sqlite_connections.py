"""Connections to SQLite files, and whether somebody closed them."""

from __future__ import annotations

import sqlite3
import sqlite3.dbapi2
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


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
