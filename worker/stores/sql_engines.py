"""SQLAlchemy engines for the registry and the SQL measure stores, on SQLite and PostgreSQL.

An engine has a time-out for each wait and keeps statement parameters out of its errors. Its connections are closed
before the process forks, and an idle connection is pinged before it is used. A connection that is in use while its
engine is disposed of is closed when it comes back.
"""

from __future__ import annotations

import os
import sqlite3
import time
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DisconnectionError, NoSuchModuleError

from worker.errors import StoreUnavailable

_DRIVERS: Final = ("pysqlite", "psycopg")
# A connection used less than this time ago is taken without a ping, which would cost a round trip.
PING_AFTER_IDLE_S: Final = 2.0
_USED_AT: Final = "used_at"
_OPENED_BY: Final = "opened_by"
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
        engine = create_engine(url, connect_args=arguments, **common)
        ping_idle_connections(engine)
    close_outdated_connections(engine)
    dispose_around_forks(engine)
    return engine


def build_reading_engine(engine: Engine) -> Engine:
    """Return the engine with autocommit on PostgreSQL, for statements that only read; it shares the connections.

    This saves the round trips of BEGIN and COMMIT. Each statement sees what is committed when it begins, as it also
    does in a transaction on PostgreSQL (READ COMMITTED).
    """
    return engine if engine.dialect.name == "sqlite" else engine.execution_options(isolation_level="AUTOCOMMIT")


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


def close_outdated_connections(engine: Engine) -> None:
    """Make ``engine`` close a connection that was in use during a ``dispose`` when it comes back.

    SQLAlchemy returns it to the old pool, and there it stays open until the garbage collector finds the pool.
    """

    def record_opener(_connection: Any, record: Any) -> None:
        record.info[_OPENED_BY] = os.getpid(), engine.pool

    def close_if_outdated(_connection: Any, record: Any) -> None:
        # Nothing is recorded where no connection could be opened.
        pid, pool = record.info.get(_OPENED_BY, (0, None))
        # A forked child must not close its parent's connection: the server would end it for the parent too.
        if pool is not engine.pool and pid == os.getpid():
            record.invalidate()

    event.listen(engine, "connect", record_opener)
    event.listen(engine, "checkin", close_if_outdated)


def dispose_around_forks(engine: Engine) -> None:
    """Make ``engine`` safe to use in both processes after a fork: no connection is shared by two processes."""
    _ENGINES.add(engine)


def _close_idle_connections() -> None:
    """Close the idle connections before the fork, so that the child has none of them."""
    for engine in list(_ENGINES):
        engine.dispose()


def _forget_connections() -> None:
    """Drop the connections in the child without closing them: the parent's other threads still use them."""
    for engine in list(_ENGINES):
        engine.dispose(close=False)


os.register_at_fork(before=_close_idle_connections, after_in_child=_forget_connections)


def ping_idle_connections(engine: Engine) -> None:
    """Make ``engine`` ping a connection that was idle for PING_AFTER_IDLE_S or longer before it is used."""

    def record_use(_connection: Any, record: Any) -> None:
        record.info[_USED_AT] = time.monotonic()

    def ping_if_idle(connection: Any, record: Any, _proxy: Any) -> None:
        if time.monotonic() - record.info.get(_USED_AT, 0.0) < PING_AFTER_IDLE_S:
            return
        try:
            is_alive = engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error:
            is_alive = False
        if not is_alive:
            raise DisconnectionError  # The pool then opens a new connection.

    event.listen(engine, "connect", record_use)
    event.listen(engine, "checkin", record_use)
    event.listen(engine, "checkout", ping_if_idle)
