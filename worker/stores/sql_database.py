"""The SQL database behind the embedded measure store: one engine a process, outages in plain words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DataError, IntegrityError, NoSuchModuleError, SQLAlchemyError, StatementError

from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.per_process import PerProcess
from worker.stores.sql_tables import create_tables

_WRONG_VALUE: Final = (DataError, IntegrityError)  # what was written is at fault, and would be again


class SqlDatabase:
    """One SQLite file or PostgreSQL database.  Connects at first use, anew in each process; safe with threads."""

    def __init__(self, url: str, timeout_s: float) -> None:
        """Raises ValueError, in one line that does not repeat the URL: it may hold a password."""
        self._url = _parse(url)
        self._timeout_s = timeout_s
        self._engine = PerProcess(self._make_engine)
        self._with_tables: set[Engine] = set()
        self.dialect = self._url.get_backend_name()
        self._engine.get()  # so that a missing driver shows now; no connection is made

    def __repr__(self) -> str:
        return f"SqlDatabase({self.address!r})"

    @property
    def address(self) -> str:
        """Where it is, without user, password and options."""
        return URL.create(
            self.dialect, None, None, self._url.host, self._url.port, self._url.database
        ).render_as_string()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """All of it happens or nothing; the tables are there.  Raises StoreUnavailable or WriteRefused."""
        try:
            with self._ready_engine().begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._in_plain_words(error) from error

    def _ready_engine(self) -> Engine:
        engine = self._engine.get()
        if engine not in self._with_tables:
            self._create_file()
            create_tables(engine)
            self._with_tables.add(engine)
        return engine

    def _create_file(self) -> None:
        """A SQLite file is for its owner's eyes alone; SQLite by itself would ask the umask."""
        if self.dialect != "sqlite" or "uri" in self._url.query:
            return
        path = Path(self._url.database or "")
        try:
            path.touch(mode=0o600)
        except OSError as error:
            raise StoreUnavailable(f"{path} can't be written ({error.strerror}): make its folder writable") from error

    def _make_engine(self) -> Engine:
        # hide_parameters: a statement's values are somebody's consumption, and errors end up in logs.
        common: dict[str, Any] = {"hide_parameters": True}
        if self.dialect == "sqlite":
            engine = create_engine(self._url, connect_args={"timeout": self._timeout_s}, **common)
            event.listen(engine, "connect", _set_up_sqlite)
            return engine
        return create_engine(self._url, pool_pre_ping=True, connect_args=self._time_outs(), **common)

    def _time_outs(self) -> dict[str, str]:
        """For psycopg; what the URL says itself goes first."""
        whole_s = max(1, round(self._timeout_s))
        ours = {
            "connect_timeout": str(min(10, whole_s)),
            "options": f"-c statement_timeout={whole_s * 1000}",
            "tcp_user_timeout": str(whole_s * 1000),  # a server that vanished without a word
            "keepalives_idle": "10",
            "keepalives_interval": "5",
            "keepalives_count": "3",
        }
        return {name: value for name, value in ours.items() if name not in self._url.query}

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
    known = url is not None and url.get_backend_name() in ("sqlite", "postgresql") and not dialect.is_async
    if known and url is not None and url.database not in (None, "", ":memory:"):
        return url
    raise ValueError(
        "the measures URL must be couchdb+http://USER:PASSWORD@HOST:5984/, sqlite:///FILE "
        "or postgresql://USER:PASSWORD@HOST/DATABASE"
    )


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    # synchronous stays FULL: a window is marked done elsewhere, so a power cut must not take its rows back.
    with suppress(sqlite3.OperationalError):  # another process is turning it on: it doesn't wait, but it lasts
        connection.execute("PRAGMA journal_mode = WAL")
