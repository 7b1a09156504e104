"""The SQL measure store, the default on one machine: one table a doctype, compare-and-set on a revision column."""

from __future__ import annotations

import random
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine
from sqlalchemy.engine import URL
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError, StatementError

from worker.domain.measures.packing import PERIODS, SERIES
from worker.domain.measures.readings import Period
from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.base import NO_ROWS, ByPeriod, Document, Ranges, Rows
from worker.stores.measures.sql_statements import (
    EXPECTED,
    MOST_ROWS_A_STATEMENT,
    Ids,
    PostgresStatements,
    Row,
    SqliteStatements,
    erase_statement,
    range_query,
)
from worker.stores.measures.sql_tables import OPTIONAL, TABLES, VALUES, create_tables
from worker.stores.sql_engines import build_reading_engine, create_file, first_error_line, open_engine, parse_url

_GOOD_URLS: Final = (
    "the measures URL must be couchdb+http://USER:PASSWORD@HOST:5984/, sqlite:///FILE "
    "or postgresql://USER:PASSWORD@HOST/DATABASE"
)
_WRONG_VALUE: Final = (DataError, IntegrityError)  # The written value is at fault, and another try would fail too.
_FIELDS: Final = frozenset({"_id", "_rev", "source_account", *VALUES})
_NO_REVISION: Final = 0  # No row has this revision.


class SqlStore:
    """The five doctypes in a SQLite file or a PostgreSQL database; connects at first use, safe with threads.

    Account and key are a row's primary key, and ``_rev`` is its revision as text.  ``source_account`` has no column,
    because it is the account in ``_id``.  Connections are closed by ``close``, or when the object is garbage-collected.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        """Open the engines.  Raises ValueError, in one line that does not repeat the URL."""
        self._url = parse_url(url, "the measures URL", _GOOD_URLS)
        self._engine = open_engine(self._url, timeout_s)
        self._reading_engine = build_reading_engine(self._engine)
        self._has_tables = False
        self._queries = {period: range_query(table) for period, table in TABLES.items()}
        build_statements = PostgresStatements if self._engine.dialect.name == "postgresql" else SqliteStatements
        self._statements = {period: build_statements(table) for period, table in TABLES.items()}
        weakref.finalize(self, self._engine.dispose)

    def __repr__(self) -> str:
        return f"SqlStore({self.address!r})"

    @property
    def address(self) -> str:
        """URL of the database without user, password and options."""
        url = self._url
        return URL.create(
            url.get_backend_name(), host=url.host, port=url.port, database=url.database
        ).render_as_string()

    def read(self, account_id: str, ranges: Ranges, limit: int | None = None) -> ByPeriod:
        """Read doctype after doctype, one statement each."""
        documents: ByPeriod = {}
        with self._connection(self._reading_engine) as connection:
            for period, (first_key, end_key) in ranges.items():
                query = self._queries[period] if limit is None else self._queries[period].limit(limit)
                bounds = {"account": account_id, "first_key": first_key, "end_key": end_key}
                documents[period] = [_to_document(account_id, *row) for row in connection.execute(query, bounds)]
        return documents

    def write(self, documents: Rows, removals: Rows = NO_ROWS) -> ByPeriod:
        """Write all doctypes in one transaction; a worker killed meanwhile leaves nothing of it."""
        lost: ByPeriod = {period: [] for period in (*documents, *removals)}
        if not any(documents.values()) and not any(removals.values()):
            return lost
        with self._connection(self._engine) as connection:
            for period in lost:
                rows = [*documents.get(period, ()), *removals.get(period, ())]
                if lost.get(PERIODS[SERIES[period]][0]):  # Its readings lost their race.
                    lost[period] = rows
                    continue
                won = self._write_rows(connection, period, documents.get(period, ()), removals.get(period, ()))
                lost[period] = [document for document in rows if document["_id"] not in won]
        return lost

    def _write_rows(
        self, connection: Connection, period: Period, documents: Sequence[Document], removals: Sequence[Document]
    ) -> Ids:
        """Write and remove rows of one table, and return the ids of those that won their race."""
        # In key order, so that two writers wait for each other in turn and never deadlock.
        rows = sorted(map(_to_row, documents), key=_by_key)
        removed = sorted(map(_to_key, removals), key=_by_key)
        statements, won = self._statements[period], set[str]()
        steps: list[tuple[Callable[[Connection, Sequence[Row]], Ids], list[Row]]] = [
            (statements.create, [row for row in rows if row[EXPECTED] is None]),
            (statements.replace, [row for row in rows if row[EXPECTED] is not None]),
            (statements.remove, removed),
        ]
        for execute, rows_of_step in steps:
            for first in range(0, len(rows_of_step), MOST_ROWS_A_STATEMENT):
                won |= execute(connection, rows_of_step[first : first + MOST_ROWS_A_STATEMENT])
        return won

    def erase(self, account_id: str) -> int:
        with self._connection(self._engine) as connection:
            account = {"account": account_id}
            return sum(connection.execute(erase_statement(table), account).rowcount for table in TABLES.values())

    def prepare(self) -> dict[str, bool]:
        """Create the missing tables."""
        create_file(self._url)
        try:
            with self._engine.begin() as connection:
                return create_tables(connection)
        except SQLAlchemyError as error:
            raise self._to_worker_error(error) from error

    def has_other_layout(self) -> bool:
        """Return False: rows are the only layout."""
        return False

    def close(self) -> None:
        self._engine.dispose()

    @contextmanager
    def _connection(self, engine: Engine) -> Iterator[Connection]:
        """Give a connection in a transaction, with all tables created.

        Raises StoreUnavailable or WriteRefused.
        """
        if not self._has_tables:
            self.prepare()
            self._has_tables = True
        try:
            with engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise self._to_worker_error(error) from error

    def _to_worker_error(self, error: SQLAlchemyError) -> StoreUnavailable | WriteRefused:
        driver_error = getattr(error, "orig", None)
        if isinstance(error, _WRONG_VALUE) or (isinstance(error, StatementError) and driver_error is None):
            return WriteRefused(f"{self.address} refuses a value ({type(driver_error or error).__name__})")
        reason = first_error_line(driver_error or type(error).__name__)
        return StoreUnavailable(f"{self.address} does not serve ({reason}): check that it runs and the measures URL")


def _to_row(document: Document) -> Row:
    """Return a document by the names of the columns.

    Raises WriteRefused for a field without a column.
    """
    if unknown := document.keys() - _FIELDS:
        raise WriteRefused(f"the SQL store has no column for {', '.join(sorted(unknown))}")
    row = {name: document.get(name) for name in VALUES} | _to_key(document)
    # The first revision is random: a row that was erased and written again must not pass for the one that a slow
    # writer read before.
    row["revision"] = random.randrange(1, 2**16) if row[EXPECTED] is None else row[EXPECTED] + 1
    return row


def _to_key(document: Document) -> Row:
    """Return account, key and expected revision: None for a new document; another store's text matches no row."""
    account_id, _, key = str(document["_id"]).partition(":")
    text = document.get("_rev")
    expected = None if text is None else int(text) if str(text).isdecimal() and len(text) < 10 else _NO_REVISION
    return {"account_id": account_id, "key": key, EXPECTED: expected}


def _by_key(row: Row) -> tuple[str, str]:
    return row["account_id"], row["key"]


def _to_document(account_id: str, key: str, revision: int, *values: Any) -> Document:
    """Return a row's key, revision and ``VALUES`` as a document."""
    document: Document = {"_id": f"{account_id}:{key}", "_rev": str(revision), "source_account": account_id}
    document.update(zip(VALUES, values, strict=True))
    for name in OPTIONAL:
        if document[name] is None:
            del document[name]
    return document
