"""The SQL database behind the embedded measure store: one engine, tables on demand, outages in plain words."""

from __future__ import annotations

import sqlite3
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, NoSuchModuleError, SQLAlchemyError, StatementError

from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.forks import close_around_forks
from worker.stores.sql_tables import create_tables

_WRONG_VALUE: Final = (DataError, IntegrityError)  # what was written is at fault, and would be again


class SqlDatabase:
    """One SQLite file or PostgreSQL database.  Connects at first use; safe with threads and over forks.

    Its connections are closed when it is no longer used.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        """Raises ValueError, in one line that does not repeat the URL: it may hold a password."""
        self._url = _parse(url)
        self.dialect = self._url.get_backend_name()
        self._engine = _make_engine(self._url, timeout_s)
        self._has_tables = False
        close_around_forks(self._engine)
        weakref.finalize(self, self._engine.dispose)

    def __repr__(self) -> str:
        return f"SqlDatabase({self.address!r})"

    @property
    def address(self) -> str:
        """Where it is, without user, password and options."""
        url = self._url
        return URL.create(self.dialect, host=url.host, port=url.port, database=url.database).render_as_string()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All of it happens or nothing; the tables are there.  Raises StoreUnavailable or WriteRefused."""
        try:
            with self._ready_engine().begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._in_plain_words(error) from error

    def _ready_engine(self) -> Engine:
        if not self._has_tables:
            self._create_file()
            create_tables(self._engine)
            self._has_tables = True
        return self._engine

    def _create_file(self) -> None:
        """A SQLite file is for its owner's eyes alone; SQLite by itself would ask the umask."""
        if self.dialect != "sqlite" or "uri" in self._url.query:
            return
        path = Path(self._url.database or "")
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise StoreUnavailable(f"{path} can't be written ({error.strerror}): make its folder writable") from error

    def _in_plain_words(self, error: SQLAlchemyError) -> StoreUnavailable | WriteRefused:
        driver_error = getattr(error, "orig", None)
        if isinstance(error, _WRONG_VALUE) or (isinstance(error, StatementError) and driver_error is None):
            return WriteRefused(f"{self.address} refuses a value ({type(driver_error or error).__name__})")
        # The first line of an outage names a server or a file; a longer text may quote what was written.
        told = next(iter(str(driver_error or type(error).__name__).splitlines()), "no reason given")
        return StoreUnavailable(
            f"{self.address} does not serve ({told[:200]}): check that it runs and the measures URL"
        )


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except (ArgumentError, NoSuchModuleError, ValueError):
        url = None
    except ImportError:
        raise ValueError("the driver that the measures URL names is not installed: leave it out of the URL") from None
    known = url is not None and dialect.driver in ("pysqlite", "psycopg") and not dialect.is_async
    if known and url is not None and url.database not in (None, "", ":memory:"):
        return url
    raise ValueError(
        "the measures URL must be couchdb+http://USER:PASSWORD@HOST:5984/, sqlite:///FILE "
        "or postgresql://USER:PASSWORD@HOST/DATABASE"
    )


def _make_engine(url: URL, timeout_s: float) -> Engine:
    # hide_parameters: a statement's values are somebody's consumption, and errors end up in logs.
    # pool_size: a thread's each, for what goes beyond the pool is opened and closed again each time.
    common: dict[str, Any] = {"hide_parameters": True, "pool_size": 16}
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": timeout_s}, **common)
        event.listen(engine, "connect", _set_up_sqlite)
        return engine
    arguments = {name: value for name, value in _time_outs(timeout_s).items() if name not in url.query}
    return create_engine(url, pool_pre_ping=True, connect_args=arguments, **common)


def _time_outs(timeout_s: float) -> dict[str, str]:
    """For psycopg; what the URL says itself goes first."""
    whole_s = max(1, round(timeout_s))
    return {
        "connect_timeout": str(min(10, whole_s)),
        "options": f"-c statement_timeout={whole_s * 1000}",
        "tcp_user_timeout": str(whole_s * 1000),  # a server that vanished without a word
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
    }


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # synchronous stays FULL: a window is marked done elsewhere, so a power cut must not take its rows back.
    with suppress(sqlite3.OperationalError):  # another process is turning it on: it doesn't wait, but it lasts
        connection.execute("PRAGMA journal_mode = WAL")
