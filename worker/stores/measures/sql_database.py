"""The SQL database of the measure store: engines, transactions, tables on demand, and errors in plain words."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, MetaData, Table
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError, StatementError

from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.sql_tables import METADATA, create_table, create_tables
from worker.stores.sql_engines import build_reading_engine, create_file, first_error_line, open_engine, parse_url

T = TypeVar("T")

_GOOD_URLS: Final = (
    "the measures URL must be couchdb+http://USER:PASSWORD@HOST:5984/, sqlite:///FILE "
    "or postgresql://USER:PASSWORD@HOST/DATABASE"
)
_WRONG_VALUE: Final = (DataError, IntegrityError)  # The written value is at fault, and another try would fail too.


class SqlDatabase:
    """One SQLite file or PostgreSQL database; connects at first use, safe with threads and over forks.

    Its connections are closed by ``close``, or else when the object is garbage-collected.
    """

    def __init__(self, url: str, timeout_s: float, metadata: MetaData = METADATA) -> None:
        """Open the engines; ``metadata`` has the tables to create.

        Raises ValueError, in one line that does not repeat the URL.
        """
        self._metadata = metadata
        self._url = parse_url(url, "the measures URL", _GOOD_URLS)
        self.dialect = self._url.get_backend_name()
        self._engine = open_engine(self._url, timeout_s)
        self._reading_engine = build_reading_engine(self._engine)
        self._has_tables = False
        weakref.finalize(self, self._engine.dispose)

    def __repr__(self) -> str:
        return f"SqlDatabase({self.address!r})"

    @property
    def address(self) -> str:
        """URL of the database without user, password and options."""
        url = self._url
        return URL.create(self.dialect, host=url.host, port=url.port, database=url.database).render_as_string()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Give a connection in a transaction, with all tables created.

        Raises StoreUnavailable or WriteRefused.
        """
        try:
            with self._ready_engine().begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._to_worker_error(error) from error

    def read_existing(self, query: Callable[[Connection], T]) -> T:
        """Return the result of ``query`` without creating tables.

        Raises StoreUnavailable.
        """
        create_file(self._url)
        try:
            with self._engine.connect() as connection:
                return query(connection)
        except SQLAlchemyError as error:
            raise self._to_worker_error(error) from error

    @contextmanager
    def read_connection(self) -> Iterator[Connection]:
        """Give a connection for reads, with all tables created.

        Raises StoreUnavailable.
        """
        try:
            self._ready_engine()
            with self._reading_engine.connect() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._to_worker_error(error) from error

    def create_missing(self, table: Table) -> bool:
        """Create this table alone and return whether it was missing.

        Raises StoreUnavailable.
        """
        create_file(self._url)
        try:
            return create_table(self._engine, table)
        except SQLAlchemyError as error:
            raise self._to_worker_error(error) from error

    def close(self) -> None:
        """Close idle connections; the next use opens new ones."""
        self._engine.dispose()

    def _ready_engine(self) -> Engine:
        if not self._has_tables:
            create_file(self._url)
            create_tables(self._engine, self._metadata)
            self._has_tables = True
        return self._engine

    def _to_worker_error(self, error: SQLAlchemyError) -> StoreUnavailable | WriteRefused:
        driver_error = getattr(error, "orig", None)
        if isinstance(error, _WRONG_VALUE) or (isinstance(error, StatementError) and driver_error is None):
            return WriteRefused(f"{self.address} refuses a value ({type(driver_error or error).__name__})")
        reason = first_error_line(driver_error or type(error).__name__)
        return StoreUnavailable(f"{self.address} does not serve ({reason}): check that it runs and the measures URL")
