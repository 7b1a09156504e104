"""SQLAlchemy engines for the registry and the SQL measure stores, on SQLite and PostgreSQL.

An engine has a time-out for each wait and keeps statement parameters out of its errors. Two processes never share a
connection, and one that the server closed is replaced unseen.
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from worker.errors import StoreUnavailable

_DRIVERS: Final = ("pysqlite", "psycopg")
# All engines of this process, for the hooks around a fork.
_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


def parse_url(text: str, label: str, expected: str) -> URL:
    """Parse the URL of a SQLite file or a PostgreSQL database.

    Raises ValueError with the text ``expected``; it doesn't repeat the URL because that may contain a password.
    ``label`` names the URL in another message, for a driver that is not installed.
    """
    try:
        url = make_url(text)
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except (ArgumentError, NoSuchModuleError, ValueError):  # A port that is not a number gives a ValueError.
        raise ValueError(expected) from None
    except ImportError:
        raise ValueError(f"the driver that {label} names is not installed: leave it out of the URL") from None
    # In memory, each connection would see another database.
    in_memory = url.database in (None, "", ":memory:")
    if in_memory or dialect.is_async or dialect.driver not in _DRIVERS:
        raise ValueError(expected)
    return url


def open_engine(url: URL, timeout_s: float) -> Engine:
    """Return an engine that connects on first use.

    ``timeout_s`` is how long a PostgreSQL server may take to answer and how long a SQLite writer waits for another one.
    """
    # Errors end up in logs, and a statement's values are meter numbers, tokens and consumption: hide_parameters.
    # Each thread needs a connection in the pool, because one beyond it is opened and closed each time: pool_size.
    common: dict[str, Any] = {"hide_parameters": True, "pool_size": 16}
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": timeout_s}, **common)
        event.listen(engine, "connect", _set_up_sqlite)
    else:
        arguments = {name: value for name, value in _postgresql_timeouts(timeout_s).items() if name not in url.query}
        # A database that was restarted has closed its connections: each is tried before it is used.
        engine = create_engine(url, connect_args=arguments, pool_pre_ping=True, **common)
    _ENGINES.add(engine)
    return engine


def build_insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return an INSERT statement with ``on_conflict_do_update``, which SQLite and PostgreSQL both have."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def _postgresql_timeouts(timeout_s: float) -> dict[str, str]:
    """Return the connection parameters of libpq that bound each wait; those in the URL take precedence."""
    whole_s = max(1, round(timeout_s))
    return {
        "connect_timeout": str(min(10, whole_s)),
        "options": f"-c statement_timeout={whole_s * 1000}",
        "tcp_user_timeout": str(whole_s * 1000),  # For a server that vanishes without closing the connection.
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
    }


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # The setting "synchronous" stays FULL: a power cut must not undo a write, because a lost refresh token can't be
    # requested again. WAL mode is a property of the file: if another process is switching it on, this one needn't.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")


def create_file(url: URL) -> None:
    """Create the SQLite file if it is missing, readable by its owner alone. Raises StoreUnavailable.

    SQLite itself would create it with the permissions of the umask.
    """
    if url.get_backend_name() != "sqlite" or "uri" in url.query:
        return
    file = url.database or ""
    try:
        if not os.path.exists(file):  # noqa: PTH110 - each transaction asks, and a Path takes ten times longer
            Path(file).touch(mode=0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"sqlite file {file} can't be created ({error.strerror}): its folder must exist and be writable"
        ) from error


def first_error_line(error: object) -> str:
    """Return the first line of a driver's error, at most 200 characters.

    It names a server or a file; the lines after it may quote the written values.
    """
    return next(iter(str(error or "").splitlines()), "no reason given")[:200]


def _dispose(close: bool) -> None:
    for engine in list(_ENGINES):
        engine.dispose(close=close)


# As SQLAlchemy's page "Using Connection Pools with Multiprocessing or os.fork()" says: a child inherits no idle
# connection (SQLite forbids even to close one there), and forgets those that other threads of its parent were using.
os.register_at_fork(before=lambda: _dispose(close=True), after_in_child=lambda: _dispose(close=False))
