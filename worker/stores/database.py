"""The SQL databases (SQLite or PostgreSQL) of the registry and the measures: transactions and error messages.

Each wait for the database has a timeout, an outage is reported in one line, and errors never contain the parameters of
a statement. Each transaction has its own connection, so threads can share a ``Database``. Processes never share a
connection. A connection that the server has closed is replaced silently.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from copy import copy
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Row,
    Select,
    String,
    Table,
    TypeDecorator,
    UpdateBase,
    create_engine,
    event,
    exc,
    func,
    select,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url

from worker import tracing
from worker.domain.clock import Clock, real_clock
from worker.errors import OperatorFault, StoreUnavailable
from worker.metrics import STORE_ERRORS

if TYPE_CHECKING:
    from worker.stores.encryption import Sealer


_DRIVERS: Final = ("pysqlite", "psycopg")
_TIMEOUT_S: Final = 30.0
_NOTES: Final = "notes"
# Texts of the SQLite and PostgreSQL drivers for a missing table or column.
_MISSING_TABLE_ERRORS: Final = ("no such table", "no such column", "UndefinedTable", "UndefinedColumn")
# All engines of this process, for the hooks around a fork.
_ENGINES: weakref.WeakSet[Engine] = weakref.WeakSet()


def sortable(length: int) -> String:
    """Return a text type whose values every server sorts by bytes, as Python sorts strings."""
    return String(length).with_variant(String(length, collation="C"), "postgresql")


class UtcDateTime(TypeDecorator[datetime]):
    """The column type of a moment: zone-aware in Python, UTC in the database. SQLite stores no time zone."""

    impl = DateTime(timezone=True)
    cache_ok = True

    @property
    def python_type(self) -> type[datetime]:
        return datetime

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Convert a zone-aware moment to UTC. Raises ValueError for a moment without a zone."""
        if value is not None and value.tzinfo is None:
            raise ValueError("a moment without its zone can't be stored")
        return None if value is None else value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class DatabaseUse(NamedTuple):
    """What a database is used for, in words for the operator.

    ``setting`` is the name of the setting that contains the URL; ``forms`` are the forms that this URL may have.
    """

    name: str
    setting: str
    forms: str
    counts_outages: bool = True  # False for the measures, whose ``InstrumentedStore`` counts outages.


REGISTRY: Final = DatabaseUse(
    "registry's", "RELEVE_REGISTRY_URL", "sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE"
)


class Database:
    """A SQLite file or a PostgreSQL database, named by its SQLAlchemy URL; it connects on first use.

    All methods that read or write raise StoreUnavailable.
    """

    def __init__(self, url: str, use: DatabaseUse = REGISTRY, timeout_s: float = _TIMEOUT_S) -> None:
        """Take the URL. Raises ValueError for a wrong URL, without repeating it, because it may contain a password.

        ``timeout_s``: how long a PostgreSQL server may take to answer, and how long a SQLite writer waits for another
        writer.
        """
        self._use = use
        self._engine = _open_engine(_parse_url(url, use), timeout_s)
        self._writing_engine = self._engine.execution_options(writes=True)  # Both engines share their connections.
        self._joined: Connection | None = None
        self.on_commit: Callable[[list[Any]], object] = lambda notes: None
        weakref.finalize(self, self._engine.dispose)

    def join(self, connection: Connection) -> Database:
        """Return a copy of this database whose calls run in the transaction of ``connection``, not in their own."""
        joined = copy(self)
        joined._joined = connection
        return joined

    @property
    def dialect(self) -> str:
        """The kind of database: ``sqlite`` or ``postgresql``."""
        return self._engine.dialect.name

    @property
    def address(self) -> str:
        """The database's location, without user and password."""
        url = self._engine.url
        if self.dialect == "sqlite":
            return f"sqlite file {url.database}"
        return f"postgresql at {url.host or 'its local socket'}:{url.port or 5432}, database {url.database}"

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """Open a connection on which all statements see the same snapshot."""
        with self.reading() as connection:
            # On SQLite, all statements of a transaction read the same snapshot; PostgreSQL does this only with
            # REPEATABLE READ.
            if self.dialect == "postgresql":
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Open a transaction for statements that only read.

        On PostgreSQL each statement sees what was committed before that statement began.
        """
        if self._joined is not None:
            yield self._joined
            return
        with self._traced("read"), self._translated_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def writing(self, lock: int | None = None) -> Iterator[Connection]:
        """Open a writing transaction: all of its statements take effect, or none.

        On SQLite the transaction takes the write lock at its start (BEGIN IMMEDIATE), because a transaction that begins
        with a read and then writes gets an error instead of waiting for another writer. On PostgreSQL, those with the
        same ``lock`` take turns, for what no lock of a row protects; a joined database takes no such lock.
        """
        if self._joined is not None:
            yield self._joined
            return
        notes: list[Any] = []
        with self._traced("write"), self._translated_errors(), self._writing_engine.begin() as connection:
            connection.info[_NOTES] = notes
            if lock is not None and self.dialect == "postgresql":
                connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({lock})")
            yield connection
        if notes:
            self.on_commit(notes)

    @contextmanager
    def changing_tables(self) -> Iterator[Connection]:
        """Open a transaction that may rebuild tables. Raises OperatorFault if a row refers to a missing row at the end.

        SQLite changes a table by rebuilding it, and would refuse to drop a table that others refer to. So SQLite checks
        foreign keys only at the end; if one is violated, everything is rolled back.
        """
        with (
            self._translated_errors(),
            self._writing_engine.connect() as connection,
            _without_foreign_keys(connection),
            connection.begin(),
        ):
            yield connection
            if self.dialect != "sqlite":
                return
            if broken := connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise OperatorFault(
                    f"nothing was changed: rows of {broken[0]} refer to missing rows of {broken[2]}; keep the old "
                    "version of Relève"
                )

    def fetch(self, query: Select[Any], parameters: Mapping[str, Any] | None = None) -> Sequence[Row[*tuple[Any, ...]]]:
        """Return all rows of one query, which runs in its own transaction."""
        with self.reading() as connection:
            return connection.execute(query, parameters).all()

    def first(self, query: Select[Any], parameters: Mapping[str, Any] | None = None) -> Row[*tuple[Any, ...]] | None:
        """Return the first row of one query; None if the query has no rows."""
        with self.reading() as connection:
            return connection.execute(query, parameters).first()

    def scalar(self, query: Select[Any], parameters: Mapping[str, Any] | None = None) -> Any:
        """Return the first column of a query's first row; None if the query has no rows."""
        row = self.first(query, parameters)
        return None if row is None else row[0]

    def find_occurring(self, column: ColumnElement[Any], among: Iterable[Any], *conditions: Any) -> set[Any]:
        """Return the values in ``among`` that occur in an indexed column, each by one look-up in the index.

        It looks for the least value from each on: for an equal value, PostgreSQL may read the whole table if a few
        values are frequent. ``conditions``: those of the index's rows.
        """
        least = select(func.min(column)).where(*conditions)
        values = list(among)
        found = [least.where(column >= one).scalar_subquery() for one in values]
        return {*values} & {*self.fetch(select(*found))[0]} if found else set()

    def change(self, statement: UpdateBase) -> int:
        """Run one writing statement in its own transaction; return the number of rows that it changed."""
        with self.writing() as connection:
            return connection.execute(statement).rowcount

    def empty_log(self) -> None:
        """Empty SQLite's write-ahead log, because it still contains deleted rows. A log in use is left alone.

        The call doesn't wait for other connections, because writers would then have to wait for this call. On
        PostgreSQL it does nothing.
        """
        if self.dialect != "sqlite":
            return
        with self._translated_errors(), self._engine.connect() as connection:
            # A raw cursor begins no transaction. A transaction would itself use the log, which then couldn't be
            # emptied.
            plain = connection.connection.cursor()
            waits_ms = plain.execute("PRAGMA busy_timeout").fetchone()[0]
            plain.execute("PRAGMA busy_timeout = 0")
            with suppress(sqlite3.OperationalError):
                plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            plain.execute(f"PRAGMA busy_timeout = {waits_ms}")

    def close(self) -> None:
        """Close idle connections; the next use opens new ones."""
        self._engine.dispose()

    def _traced(self, operation: Literal["read", "write"]) -> AbstractContextManager[None]:
        # ``InstrumentedStore`` traces the measures.
        return tracing.span("registry", operation=operation) if self._use.counts_outages else nullcontext()

    @contextmanager
    def _translated_errors(self) -> Iterator[None]:
        """Turn an outage of the database into StoreUnavailable and count it; other errors stay as they are."""
        try:
            yield
        except exc.SQLAlchemyError as error:
            if (text := self._describe_outage(error)) is None:
                raise
            if self._use.counts_outages:
                STORE_ERRORS.labels("registry").inc()
            raise StoreUnavailable(f"{self.address}: {text}") from error

    def _describe_outage(self, error: exc.SQLAlchemyError) -> str | None:
        """Return a text on how to end an outage of the database; None if the statement itself is wrong."""
        driver_error = getattr(error, "orig", None)
        text = f"{type(driver_error).__name__} {driver_error}"
        if isinstance(error, exc.OperationalError | exc.ProgrammingError) and any(
            word in text for word in _MISSING_TABLE_ERRORS
        ):
            return f"the {self._use.name} tables are missing or older than this version: run `releve migrate`"
        if isinstance(error, exc.OperationalError) and "LockNotAvailable" in text:
            return "a table was in use for too long: run `releve migrate` again, or stop the workers first"
        if isinstance(error, exc.ProgrammingError) and "InsufficientPrivilege" in text:
            reason = _first_line(driver_error)
            return f"this database user may not do that ({reason}): run `releve migrate` as the tables' owner first"
        if isinstance(error, exc.TimeoutError):
            return "all database connections are in use: use fewer threads, or try later"
        # SQLite raises a plain DatabaseError for a file that is not a database.
        if (
            isinstance(error, exc.OperationalError | exc.InterfaceError | exc.InternalError)
            or type(error) is exc.DatabaseError
        ):
            return f"does not work ({_first_line(driver_error)}): check that it runs, and {self._use.setting}"
        return None


class SqlTable:
    """Base class for the classes that read and write tables; all of their public methods may raise StoreUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database


class ClockedTable(SqlTable):
    """Base class for tables with expiring rows, which need a clock.

    The clock shows the real time, even if the fleet's time is simulated, unless a test passes another clock.
    """

    def __init__(self, database: Database, now: Clock = real_clock) -> None:
        super().__init__(database)
        self._now = now


class SealedTable(ClockedTable):
    """Base class for tables with sealed (encrypted) columns. Decrypting raises OperatorFault if the key is missing."""

    def __init__(self, database: Database, sealer: Sealer, now: Clock = real_clock) -> None:
        super().__init__(database, now)
        self._sealer = sealer


def note_for_commit(connection: Connection, notes: Iterable[Any]) -> None:
    """Add notes to this transaction; after its commit, ``Database.on_commit`` is called with all notes."""
    connection.info[_NOTES].extend(notes)


def place_of(column: Column[Any], *row_key: str) -> str:
    """Return the place of a sealed value for ``encryption.Sealer``, such as ``tokens.sealed/k3q7d0fr2mxx``."""
    return f"{column.table.name}.{column.name}/{'/'.join(row_key)}"


def build_insert(dialect: str, table: Table) -> sqlite.Insert | postgresql.Insert:
    """Return the dialect's own INSERT statement, because only it supports ``on_conflict_do_update``."""
    return sqlite.insert(table) if dialect == "sqlite" else postgresql.insert(table)


def build_upsert(dialect: str, table: Table, row: Mapping[str, Any], **only_new: Any) -> UpdateBase:
    """Return the statement that inserts a row, or changes the columns in ``row`` if there is one with its key.

    ``only_new``: further columns, for the row that is inserted.
    """
    key, insertion = table.primary_key, build_insert(dialect, table).values(**row, **only_new)
    changed = {name: value for name, value in row.items() if name not in key.columns}
    return insertion.on_conflict_do_update(index_elements=key, set_=changed)


def _parse_url(text: str, use: DatabaseUse) -> URL:
    """Parse the URL of a SQLite file or a PostgreSQL database. Raises ValueError, which doesn't repeat the URL."""
    expected = f"the {use.name} URL must be {use.forms}"
    try:
        url = make_url(text)
        dialect = url.get_dialect()
        dialect.import_dbapi()
    except (exc.ArgumentError, exc.NoSuchModuleError, ValueError):  # A port that is not a number gives a ValueError.
        raise ValueError(expected) from None
    except ImportError:
        raise ValueError(f"the driver in the {use.name} URL is not installed: leave it out") from None
    # An in-memory database is refused, because each connection would get a separate, empty database.
    in_memory = url.database in (None, "", ":memory:")
    if in_memory or dialect.is_async or dialect.driver not in _DRIVERS:
        raise ValueError(expected)
    return url


def _open_engine(url: URL, timeout_s: float) -> Engine:
    # hide_parameters: errors end up in logs, and a statement's parameters contain meter numbers, tokens and
    # consumption. pool_size: each thread needs a pooled connection, because a connection beyond the pool is opened and
    # closed each time.
    common: dict[str, Any] = {"hide_parameters": True, "pool_size": 16}
    if url.get_backend_name() == "sqlite":
        engine = create_engine(url, connect_args={"timeout": timeout_s}, **common)
        event.listen(engine, "do_connect", lambda *_: _create_file(url))
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    else:
        arguments = {name: value for name, value in _postgresql_timeouts(timeout_s).items() if name not in url.query}
        # A restarted database has closed its connections, so each connection is tested before use.
        engine = create_engine(url, connect_args=arguments, pool_pre_ping=True, **common)
        # This must run before SQLAlchemy's own first query, which would mistake bytes for text if the database has no
        # encoding.
        event.listen(engine, "connect", _check_encoding, insert=True)
    _ENGINES.add(engine)
    return engine


def _postgresql_timeouts(timeout_s: float) -> dict[str, str]:
    """Return libpq's connection parameters that limit each wait; parameters in the URL override them."""
    whole_s = max(1, round(timeout_s))
    return {
        "connect_timeout": str(min(10, whole_s)),
        "options": f"-c statement_timeout={whole_s * 1000}",
        "tcp_user_timeout": str(whole_s * 1000),  # Limits the wait for a server that vanishes silently.
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
    }


def _check_encoding(connection: Any, _record: object) -> None:
    """Raise StoreUnavailable for a database with an encoding other than UTF-8, or without one (SQL_ASCII).

    The server reports its encoding when the connection opens, so this check sends nothing.
    """
    encoding = connection.info.parameter_status("server_encoding")
    if encoding not in (None, "UTF8"):
        name = connection.info.dbname
        raise StoreUnavailable(
            f"PostgreSQL database {name} has the encoding {encoding}: make one with CREATE DATABASE … ENCODING 'UTF8' "
            "TEMPLATE template0, and name it in the URL"
        )


def _create_file(url: URL) -> None:
    """Create the SQLite file if it is missing, readable only by its owner. Raises StoreUnavailable if that fails.

    SQLite itself would create the file with the permissions that the umask allows.
    """
    if "uri" in url.query:
        return
    file = Path(url.database or "")
    try:
        if not file.exists():
            file.touch(mode=0o600)
    except OSError as error:
        raise StoreUnavailable(
            f"sqlite file {file} can't be created ({error.strerror}): its folder must exist and be writable"
        ) from error


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Switch off SQLite's foreign key checks during the block. Must be called outside a transaction."""
    if connection.dialect.name != "sqlite":
        yield
        return
    plain = connection.connection.cursor()
    plain.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        plain.execute("PRAGMA foreign_keys = ON")


def _set_up_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # The driver must not begin transactions, because _begin_sqlite does.
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA secure_delete = ON")  # Deleted rows are overwritten with zeros.
    # The setting "synchronous" stays FULL: a power cut must not undo a write, because a lost refresh token can't be
    # requested again. WAL mode is a property of the file: if another process is switching it on, this process needn't.
    with suppress(sqlite3.OperationalError):
        connection.execute("PRAGMA journal_mode = WAL")


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _first_line(error: object) -> str:
    """Return the first line of a driver's error, at most 200 characters.

    This line names a server or a file; the lines after it may quote written values.
    """
    return next(iter(str(error or "").splitlines()), "no reason given")[:200]


def new_id() -> str:
    """Return a random id: 20 hexadecimal digits."""
    return secrets.token_hex(10)


def _dispose(close: bool) -> None:
    for engine in list(_ENGINES):
        engine.dispose(close=close)


# As described in SQLAlchemy's page "Using Connection Pools with Multiprocessing or os.fork()": a child inherits no idle
# connection (SQLite forbids even closing such a connection in the child), and forgets the connections that other
# threads of its parent were using.
os.register_at_fork(before=lambda: _dispose(close=True), after_in_child=lambda: _dispose(close=False))
