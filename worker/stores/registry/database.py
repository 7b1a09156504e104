"""The SQL database behind the registry: one engine, short transactions, outages in plain words.

Safe with threads, each transaction has a connection of its own, and over a fork (worker/stores/sql_engines.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from typing import Final

from sqlalchemy import Connection, Engine, event, func, select
from sqlalchemy.exc import (
    DatabaseError,
    InterfaceError,
    InternalError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from worker.errors import OperatorFault, StoreUnavailable
from worker.metrics import STORE_ERRORS
from worker.stores.registry import migrations
from worker.stores.sql_engines import create_file, first_line, for_reading, open_engine, parse_url

_TIMEOUT_S = 30.0
_NO_TABLES = ("no such table", "no such column", "UndefinedTable", "UndefinedColumn")
_GOOD_URLS = "the registry's URL must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"


class Database:
    """One database by its SQLAlchemy URL (SQLite file or PostgreSQL); connects on first use."""

    def __init__(self, url: str) -> None:
        """Raises ValueError, which doesn't repeat the URL: it may hold a password."""
        self._engine = _open(url)
        self._reading_engine = for_reading(self._engine)
        self._writing_engine = self._engine.execution_options(writes=True)  # the same connections
        self._within: Connection | None = None

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
        """For statements that only read.  Raises StoreUnavailable."""
        with self._plain_words(), self._reading_engine.begin() as connection:
            yield connection

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """As ``reading``, all of it in one transaction, for who wants to see one moment."""
        with self._plain_words(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; all of it happens or nothing.  Raises StoreUnavailable.

        On SQLite it is the only writer from its start: one that began as a reader would not wait.
        """
        if self._within is not None:
            yield self._within
            return
        with self._plain_words(), self._writing_engine.begin() as connection:
            yield connection

    def within(self, connection: Connection) -> Database:
        """The same database, where all that is written belongs to the transaction of ``connection``."""
        inside = copy(self)
        inside._within = connection
        return inside

    def close(self) -> None:
        """Close idle connections; the next use opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _plain_words(self) -> Iterator[None]:
        create_file(self._engine.url)
        try:
            yield
        except (SQLAlchemyError, PoolTimeout) as error:
            if (text := _to_outage(error)) is None:
                raise
            STORE_ERRORS.labels("registry").inc()
            raise StoreUnavailable(f"{self.address}: {text}") from error


def _to_outage(error: SQLAlchemyError) -> str | None:
    """What to do about a database that can't serve; None where the fault is in what we asked."""
    driver_error = getattr(error, "orig", None)
    told = f"{type(driver_error).__name__} {driver_error}"
    if isinstance(error, OperationalError | ProgrammingError) and any(word in told for word in _NO_TABLES):
        return "the registry's tables are missing or older than this program: run `releve migrate`"
    if isinstance(error, ProgrammingError) and "InsufficientPrivilege" in told:
        return (
            f"this user may not do that ({first_line(driver_error)}): run `releve migrate` as the tables' owner first"
        )
    if isinstance(error, PoolTimeout):
        return "all connections are in use: lower the number of threads, or try later"
    # Just "DatabaseError" is what SQLite says of a file that is no database.
    if isinstance(error, OperationalError | InterfaceError | InternalError) or type(error) is DatabaseError:
        return f"does not serve ({first_line(driver_error)}): check that it runs and RELEVE_REGISTRY_URL"
    return None


def _open(url: str) -> Engine:
    engine = open_engine(parse_url(url, "the registry's URL", _GOOD_URLS), _TIMEOUT_S)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # we say BEGIN ourselves, below
    connection.execute("PRAGMA secure_delete = ON")  # removed means overwritten


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


# Brings the registry's schema up to this program, once, whoever comes first.

_LOCK: Final = 0x52656C6576  # "Relev": PostgreSQL's advisory locks are named by number


def bring_up(database: Database) -> tuple[str | None, str]:
    """Create the tables or bring them up to date; two processes at once take turns.  The steps before and after.

    Raises StoreUnavailable, and OperatorFault where a newer program has been here.
    """
    newest = migrations.newest_step()
    with database.reading() as connection:
        before = migrations.current_step(connection)
    if before == newest:
        return before, newest
    if before is not None and before not in migrations.known_steps():
        raise OperatorFault(
            f"the registry's tables are at step {before}, which a newer Relève has made: update this one, or restore "
            "the backup from before"
        )
    with database.writing() as connection:
        if database.dialect == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # the other may take its time
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        migrations.upgrade(connection)
    return before, newest
