"""The registry's SQL database: transactions, outages as errors of one line, and the upgrade of its schema.

Each transaction has its own connection, so threads can share a ``Database``. It also survives a fork of the process
(see ``worker.stores.sql_engines``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
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
from worker.stores.sql_engines import create_file, first_error_line, open_engine, parse_url

_TIMEOUT_S = 30.0
# What the drivers of SQLite and PostgreSQL say about a missing table or column.
_MISSING_TABLE_ERRORS = ("no such table", "no such column", "UndefinedTable", "UndefinedColumn")
_EXPECTED_URL = "the registry's URL must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"

# The first five bytes of "Releve": PostgreSQL's advisory locks are named by a number.
_LOCK: Final = 0x52656C6576


class Database:
    """A SQLite file or a PostgreSQL database, named by its SQLAlchemy URL; connects on first use."""

    def __init__(self, url: str) -> None:
        """Take the URL. Raises ValueError, which doesn't repeat the URL because it may contain a password."""
        self._engine = _open(url)
        self._writing_engine = self._engine.execution_options(writes=True)  # It shares the engine's connections.

    @property
    def dialect(self) -> str:
        """The kind of database: ``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @property
    def address(self) -> str:
        """The database's place, without user and password."""
        url = self._engine.url
        if self.dialect == "sqlite":
            return f"sqlite file {url.database}"
        return f"postgresql at {url.host or 'its local socket'}:{url.port or 5432}, database {url.database}"

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction for statements that only read. Raises StoreUnavailable.

        On PostgreSQL each statement sees what is committed when it begins.
        """
        with self._translated_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a transaction that writes: all of its statements take effect, or none. Raises StoreUnavailable.

        On SQLite it takes the write lock at its start (BEGIN IMMEDIATE): a transaction that began by reading would
        get an error instead of waiting for another writer.
        """
        with self._translated_errors(), self._writing_engine.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close idle connections; the next use opens new ones."""
        self._engine.dispose()

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Raise an outage of the database as StoreUnavailable and count it; other errors stay as they are."""
        create_file(self._engine.url)
        try:
            yield
        except (SQLAlchemyError, PoolTimeout) as error:
            if (text := _to_outage(error)) is None:
                raise
            STORE_ERRORS.labels("registry").inc()
            raise StoreUnavailable(f"{self.address}: {text}") from error


def _to_outage(error: SQLAlchemyError) -> str | None:
    """Return what to do about a database that does not serve; None if the statement itself is wrong."""
    driver_error = getattr(error, "orig", None)
    text = f"{type(driver_error).__name__} {driver_error}"
    if isinstance(error, OperationalError | ProgrammingError) and any(word in text for word in _MISSING_TABLE_ERRORS):
        return "the registry's tables are missing or older than this program: run `releve migrate`"
    if isinstance(error, ProgrammingError) and "InsufficientPrivilege" in text:
        reason = first_error_line(driver_error)
        return f"this user may not do that ({reason}): run `releve migrate` as the tables' owner first"
    if isinstance(error, PoolTimeout):
        return "all connections are in use: lower the number of threads, or try later"
    # SQLite raises a plain DatabaseError for a file that is not a database.
    if isinstance(error, OperationalError | InterfaceError | InternalError) or type(error) is DatabaseError:
        return f"does not serve ({first_error_line(driver_error)}): check that it runs and RELEVE_REGISTRY_URL"
    return None


def _open(url: str) -> Engine:
    engine = open_engine(parse_url(url, "the registry's URL", _EXPECTED_URL), _TIMEOUT_S)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # The driver must not begin transactions: _begin_sqlite does.
    connection.execute("PRAGMA secure_delete = ON")  # Deleted rows are overwritten with zeros.


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def upgrade_schema(database: Database) -> tuple[str | None, str]:
    """Create or upgrade the tables, and return the migration step before and after.

    Processes that do this at the same time take turns. Raises StoreUnavailable, and OperatorFault if a newer version
    of the program has upgraded the tables.
    """
    newest = migrations.newest_step()
    # Every process comes here when it starts, so it first looks without a lock.
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
            # The lock may be held by a process whose upgrade takes long.
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        migrations.upgrade(connection)
    return before, newest
