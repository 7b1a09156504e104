"""The SQL database behind the registry: one engine, short transactions, outages in plain words.

Safe with threads, each transaction has a connection of its own, and over a fork: idle connections are
closed before it, and the child starts with an empty pool.  (SQLite's file locks and a server's socket
both break when two processes go on with the same connection.)
"""

from __future__ import annotations

import os
import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worker.errors import StoreUnavailable

BUSY_TIMEOUT_S = 20  # how long a writer waits for another one's transaction
_POSTGRESQL_ARGUMENTS = {  # each outside call has its own time-out; a URL that names one keeps its own
    "connect_timeout": "10",
    "tcp_user_timeout": "30000",
    "options": "-c statement_timeout=30000",
}
_NO_TABLES = ("no such table", "no such column", "UndefinedTable", "UndefinedColumn")
_GOOD_URLS = "the registry's URL must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


class Database:
    """One database by its SQLAlchemy URL (SQLite file or PostgreSQL); connects on first use."""

    def __init__(self, url: str) -> None:
        """Raises ValueError, which doesn't repeat the URL: it may hold a password."""
        self._engine = _create_engine(_parse_url(url))
        self._writing_engine = self._engine.execution_options(writes=True)  # the same connections

    @property
    def dialect(self) -> str:
        return self._engine.dialect.name

    @property
    def address(self) -> str:
        """Where it is, without user and password."""
        url = self._engine.url
        if self.dialect == "sqlite":
            return f"sqlite file {url.database}"
        return f"postgresql at {url.host or 'its local socket'}:{url.port or 5432}, database {url.database}"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that only reads.  Raises StoreUnavailable."""
        with self._plain_words(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; all of it happens or nothing.  Raises StoreUnavailable.

        On SQLite it is the only writer from its start: one that began as a reader would not wait.
        """
        with self._plain_words(), self._writing_engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close idle connections; the next use opens new ones."""
        self._engine.dispose()

    def _create_file(self) -> None:
        """Make sure that a SQLite file exists, for its owner's eyes alone: SQLite would let all read it."""
        if self.dialect != "sqlite" or (file := Path(self._engine.url.database or "")).exists():
            return
        try:
            file.touch(mode=0o600)
        except OSError as error:
            raise StoreUnavailable(
                f"{self.address} can't be created: {error.strerror}; its folder must exist and be writable"
            ) from error

    @contextmanager
    def _plain_words(self) -> Iterator[None]:
        self._create_file()
        try:
            yield
        except (SQLAlchemyError, PoolTimeout) as error:
            if (text := _to_outage(error)) is None:
                raise
            raise StoreUnavailable(f"{self.address}: {text}") from error


def _to_outage(error: SQLAlchemyError) -> str | None:
    """What to do about a database that can't serve; None where the fault is in what we asked."""
    driver_error = getattr(error, "orig", None)
    told = f"{type(driver_error).__name__} {driver_error}"
    if isinstance(error, OperationalError | ProgrammingError) and any(word in told for word in _NO_TABLES):
        return "the registry's tables are missing or older than this program: run its migration"
    if isinstance(error, PoolTimeout):
        return "all connections are in use: lower the number of threads, or try later"
    # Just "DatabaseError" is what SQLite says of a file that is no database.
    if isinstance(error, OperationalError | InterfaceError | InternalError) or type(error) is DatabaseError:
        return f"does not serve ({_first_line(driver_error)}): check that it runs and RELEVE_REGISTRY_URL"
    return None


def _first_line(error: object) -> str:
    return next(iter(str(error).splitlines()), "no reason given")[:200]


def _parse_url(text: str) -> URL:
    try:
        url = make_url(text)
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except (ArgumentError, ValueError):  # also a port that is no number, a dialect nobody knows
        raise ValueError(_GOOD_URLS) from None
    except ImportError:
        raise ValueError("the driver that the registry's URL names is not installed: leave it out") from None
    in_memory = url.database in (None, "", ":memory:")  # each connection would see a registry of its own
    if in_memory or dialect.is_async or url.get_backend_name() not in ("sqlite", "postgresql"):
        raise ValueError(_GOOD_URLS)
    return url


def _create_engine(url: URL) -> Engine:
    # hide_parameters: a statement's values are meter numbers and tokens, and errors end up in logs.
    # pool_size: a thread's each, for what goes beyond the pool is opened and closed again each time.
    common: dict[str, Any] = {"hide_parameters": True, "pool_size": 16}
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": BUSY_TIMEOUT_S}, **common)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        arguments = {name: value for name, value in _POSTGRESQL_ARGUMENTS.items() if name not in url.query}
        engine = create_engine(url, connect_args=arguments, pool_pre_ping=True, **common)
    _ENGINES.add(engine)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, below
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # removed means overwritten
    # synchronous stays FULL: a refresh token that a power cut takes back can't be asked for again.
    with suppress(sqlite3.OperationalError):  # another process is turning it on: it doesn't wait, but it lasts
        connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _close_before_fork() -> None:
    for engine in list(_ENGINES):
        engine.dispose()


def _forget_after_fork() -> None:
    for engine in list(_ENGINES):
        engine.dispose(close=False)  # what another thread had in use stays the parent's


os.register_at_fork(before=_close_before_fork, after_in_child=_forget_after_fork)
