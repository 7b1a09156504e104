"""The SQL measure store, the default on one machine: one table per doctype, with a revision number in each row.

A write names the revision that it replaces, and changes nothing if the row has another revision meanwhile.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from operator import itemgetter
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.schema import CreateTable
from sqlalchemy.types import TypeEngine

from worker.domain.series import DetailType, Doctype
from worker.errors import WriteRefused
from worker.stores.database import Database, DatabaseUse, build_insert
from worker.stores.measures.measure_store import NO_ROWS, Document, DocumentsByDoctype, Ranges, Rows

_USE: Final = DatabaseUse(
    "measures",
    "RELEVE_MEASURES_URL",
    "couchdb+http://USER:PASSWORD@HOST:5984/, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DATABASE",
    counts_outages=False,
)
METADATA: Final = sa.MetaData()
# Keys are sorted by their bytes, as in CouchDB; otherwise PostgreSQL would sort them by the rules of a language.
_BYTES: Final = sa.String().with_variant(sa.String(collation="C"), "postgresql")
_TABLES_LOCK: Final = 7_238_163  # The number is arbitrary.
_REQUIRED: Final = ("load", "year", "month", "day", "hour", "minute")
_OPTIONAL: Final = ("fold", "step", "created_at", "updated_at")  # NULL if the document has no such field.
VALUES: Final = (*_REQUIRED, *_OPTIONAL)
_OTHER_FIELDS: Final = ("_id", "_rev", "source_account")
_DETAIL_COLUMNS: Final[dict[DetailType, TypeEngine[Any]]] = {
    DetailType.TEXT: sa.String(),
    DetailType.NUMBER: sa.Double(),  # Python prints a double as the decimal number that was stored.
    DetailType.ENERGIES: sa.JSON(none_as_null=True),
}
_NO_REVISION: Final = 0  # No row has this revision.
_BY_ID: Final = itemgetter("_id")
Row = dict[str, Any]  # Values by the name of their column or parameter.


def _table(doctype: Doctype) -> sa.Table:
    return sa.Table(
        f"measure_{doctype.value.replace('.', '_')}",
        METADATA,
        sa.Column("account_id", _BYTES, primary_key=True),
        sa.Column("key", _BYTES, primary_key=True),
        sa.Column("load", sa.Double, nullable=False),  # A double keeps the six decimals of a kWh unchanged.
        *(sa.Column(name, sa.SmallInteger, nullable=False) for name in _REQUIRED[1:]),
        sa.Column("fold", sa.SmallInteger),
        sa.Column("step", sa.SmallInteger),
        sa.Column("created_at", sa.String),  # ISO 8601 text, as in the document.
        sa.Column("updated_at", sa.String),
        *(sa.Column(detail.name, _DETAIL_COLUMNS[detail.type]) for detail in doctype.details),
        sa.Column("revision", sa.Integer, nullable=False),
        sqlite_with_rowid=False,  # Rows are stored in key order: a range is contiguous, and each key is stored once.
    )


TABLES: Final = {doctype: _table(doctype) for doctype in Doctype}
_TABLE_NAMES: Final = frozenset(table.name for table in TABLES.values())


class _Statements:
    """The SQL statements for one table, built once, so that SQLAlchemy and the driver can reuse them."""

    def __init__(self, doctype: Doctype, table: sa.Table, dialect: str) -> None:
        columns = table.c
        of_account = columns.account_id == sa.bindparam("of_account")
        in_range = columns.key >= sa.bindparam("first_key"), columns.key < sa.bindparam("end_key")
        stored = of_account, columns.key == sa.bindparam("of_key"), columns.revision == sa.bindparam("of_revision")
        self.values = (*VALUES, *doctype.detail_names)
        selected = columns.key, columns.revision, *(columns[name] for name in self.values)
        self.read = sa.select(*selected).where(of_account, *in_range).order_by(columns.key)
        self.erase = sa.delete(table).where(of_account)
        self.create = build_insert(dialect, table).on_conflict_do_nothing().returning(columns.account_id, columns.key)
        self.replace = sa.update(table).where(*stored)
        self.remove = sa.delete(table).where(*stored)


@cache
def _build_statements(dialect: str) -> dict[Doctype, _Statements]:
    return {doctype: _Statements(doctype, table, dialect) for doctype, table in TABLES.items()}


class SqlStore:
    """The measure store in a SQLite file or a PostgreSQL database. It connects at first use; threads can share it.

    Account and key are the primary key of a row, and ``_rev`` is the row's revision as text. ``source_account`` has no
    column, because it is the account in ``_id``.
    """

    def __init__(self, url: str, timeout_s: float) -> None:
        """Take the URL without connecting. Raises ValueError with one line that doesn't repeat the URL."""
        self._database = Database(url, _USE, timeout_s)
        self._existing = frozenset[str]()
        self._statements = _build_statements(self._database.dialect)

    def __repr__(self) -> str:
        return f"SqlStore({self._database.address})"

    def read(self, account_id: str, ranges: Ranges, limit: int | None = None) -> DocumentsByDoctype:
        """Read one doctype after another, with one statement for each; a doctype without a table has no documents."""
        documents: DocumentsByDoctype = {doctype: [] for doctype in ranges}
        with self._refusing(), self._database.reading() as connection:
            if not self._existing.issuperset(_TABLE_NAMES):
                self._existing = frozenset(sa.inspect(connection).get_table_names())
            for doctype, (first_key, end_key) in ranges.items():
                if TABLES[doctype].name not in self._existing:
                    continue
                statements = self._statements[doctype]
                query = statements.read if limit is None else statements.read.limit(limit)
                bounds = {"of_account": account_id, "first_key": first_key, "end_key": end_key}
                documents[doctype] = [
                    _to_document(account_id, statements.values, *row) for row in connection.execute(query, bounds)
                ]
        return documents

    def write(self, documents: Rows, removals: Rows = NO_ROWS) -> DocumentsByDoctype:
        """Write all doctypes in one transaction, so nothing is written if the worker is killed meanwhile."""
        lost: DocumentsByDoctype = {doctype: [] for doctype in (*documents, *removals)}
        if not any(documents.values()) and not any(removals.values()):
            return lost
        with self._writing() as connection:
            for doctype in lost:
                rows = [*documents.get(doctype, ()), *removals.get(doctype, ())]
                if lost.get(doctype.series.inputs):  # Some readings of these totals lost their race.
                    lost[doctype] = rows
                    continue
                won = self._write_rows(connection, doctype, documents.get(doctype, ()), removals.get(doctype, ()))
                lost[doctype] = [document for document in rows if document["_id"] not in won]
        return lost

    def _write_rows(
        self, connection: sa.Connection, doctype: Doctype, documents: Sequence[Document], removals: Sequence[Document]
    ) -> set[str]:
        """Write and remove rows of one table. Return the ids of the rows that didn't lose a race."""
        statements, won = self._statements[doctype], set[str]()
        # Rows are written in the order of their ids, so that two writers never deadlock.
        documents = sorted(documents, key=_BY_ID)
        if new := [_to_new_row(document, statements.values) for document in documents if document.get("_rev") is None]:
            won.update(f"{account_id}:{key}" for account_id, key in connection.execute(statements.create, new))
        for document in documents:
            if document.get("_rev") is not None:
                stored = _to_stored(document)
                values = _to_values(document, statements.values) | {"revision": stored["of_revision"] + 1}
                if connection.execute(statements.replace, stored | values).rowcount:
                    won.add(document["_id"])
        for removal in sorted(removals, key=_BY_ID):
            if connection.execute(statements.remove, _to_stored(removal)).rowcount:
                won.add(removal["_id"])
        return won

    def erase(self, account_id: str) -> int:
        with self._writing() as connection:
            parameters = {"of_account": account_id}
            erased = sum(connection.execute(table.erase, parameters).rowcount for table in self._statements.values())
        self.empty_log()
        return erased

    def empty_log(self) -> None:
        self._database.empty_log()

    def prepare(self) -> dict[str, bool]:
        """Create the missing tables. Several processes may call this at once."""
        # The lock: on PostgreSQL, IF NOT EXISTS fails when two processes create tables at once.
        with self._database.writing(_TABLES_LOCK) as connection:
            existing = sa.inspect(connection).get_table_names()
            for table in TABLES.values():
                connection.execute(CreateTable(table, if_not_exists=True))
        return {doctype.full_name: table.name not in existing for doctype, table in TABLES.items()}

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        """Open a transaction in which all tables exist. Raises StoreUnavailable and WriteRefused."""
        if not self._existing.issuperset(_TABLE_NAMES):
            self.prepare()
            self._existing = _TABLE_NAMES
        with self._refusing(), self._database.writing() as connection:
            yield connection

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn errors caused by a value, which a retry can't solve, into WriteRefused."""
        try:
            yield
        except SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise WriteRefused(f"{self._database.address} refuses a value ({type(cause).__name__})") from error


def _to_new_row(document: Document, names: Sequence[str]) -> Row:
    account_id, _, key = document["_id"].partition(":")
    # The first revision is random. So if a row is erased and created again, a slow writer that has read the old row
    # doesn't find its revision.
    return {"account_id": account_id, "key": key, "revision": random.randrange(1, 2**16), **_to_values(document, names)}


def _to_values(document: Document, names: Sequence[str]) -> Row:
    """Return a document's values for the columns in ``names``. Raises WriteRefused for a field without a column."""
    if unknown := document.keys() - {*_OTHER_FIELDS, *names}:
        raise WriteRefused(f"the SQL store has no column for {', '.join(sorted(unknown))}")
    return {name: document.get(name) for name in names}


def _to_stored(document: Document) -> Row:
    """Return the parameters that select a stored row; a revision from another store selects no row."""
    account_id, _, key = document["_id"].partition(":")
    revision = str(document["_rev"])
    number = int(revision) if revision.isdecimal() and len(revision) < 10 else _NO_REVISION
    return {"of_account": account_id, "of_key": key, "of_revision": number}


def _to_document(account_id: str, names: Sequence[str], key: str, revision: int, *values: Any) -> Document:
    told = {name: value for name, value in zip(names, values, strict=True) if value is not None}
    return {"_id": f"{account_id}:{key}", "_rev": str(revision), "source_account": account_id, **told}
