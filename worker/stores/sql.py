"""Documents in SQL, the embedded default: one table a doctype, compare-and-set on a revision column."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Select, Table, bindparam, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import Delete, ReturningInsert, Update

from worker.domain.readings import Period
from worker.errors import WriteRefused
from worker.stores.consumption import Document
from worker.stores.sql_database import SqlDatabase
from worker.stores.sql_tables import OPTIONAL, REQUIRED, TABLES

MOST_ROWS_A_STATEMENT: Final = 500  # W1
_FIELDS: Final = frozenset({"_id", "_rev", "source_account", *REQUIRED, *OPTIONAL})
_VALUES: Final = (*REQUIRED, *OPTIONAL)

Row = dict[str, Any]


class SqlStore:
    """The documents of one doctype; account and key are the primary key, ``_rev`` the revision as text.

    ``source_account`` is the account of the ``_id``, so it is not kept twice.
    """

    def __init__(self, database: SqlDatabase, period: Period) -> None:
        self._database = database
        table = TABLES[period]
        self._read = _reading(table)
        self._insert = _inserting(table, database.dialect)
        self._update = _updating(table)
        self._erase = _erasing(table)

    def __repr__(self) -> str:
        return f"SqlStore({self._insert.table.name} at {self._database.address})"

    def read(self, account_id: str, first_key: str, end_key: str) -> list[Document]:
        """The account's documents with ``first_key <= key < end_key`` in key order; one statement."""
        bounds = {"account": account_id, "first_key": first_key, "end_key": end_key}
        with self._database.transaction() as connection:
            rows = connection.execute(self._read, bounds).all()
        return [_to_document(account_id, *row) for row in rows]

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """Write in one transaction; give back those that lost a race, to be decided anew."""
        if not documents:
            return []
        # In key order, so that two writers wait for each other in turn and never in a circle.
        rows = sorted(map(_to_row, documents), key=lambda row: (row["account"], row["key_"]))
        with self._database.transaction() as connection:
            won = self._create(connection, [row for row in rows if row["expected"] is None])
            won |= self._replace(connection, [row for row in rows if row["expected"] is not None])
        return [document for document in documents if document["_id"] not in won]

    def erase(self, account_id: str) -> int:
        """Delete all documents of the account; how many there were."""
        with self._database.transaction() as connection:
            return connection.execute(self._erase, {"account": account_id}).rowcount

    def _create(self, connection: Connection, rows: Sequence[Row]) -> set[str]:
        won: set[str] = set()
        for first in range(0, len(rows), MOST_ROWS_A_STATEMENT):
            made = connection.execute(self._insert, rows[first : first + MOST_ROWS_A_STATEMENT])
            won.update(f"{account_id}:{key}" for account_id, key in made)
        return won

    def _replace(self, connection: Connection, rows: Sequence[Row]) -> set[str]:
        return {
            f"{row['account']}:{row['key_']}" for row in rows if connection.execute(self._update, row).rowcount == 1
        }


def _reading(table: Table) -> Select[Any]:
    columns = table.c
    return (
        select(columns.key, columns.revision, *(columns[name] for name in _VALUES))
        .where(columns.account_id == bindparam("account"))
        .where(columns.key >= bindparam("first_key"), columns.key < bindparam("end_key"))
        .order_by(columns.key)
    )


def _inserting(table: Table, dialect: str) -> ReturningInsert[Any]:
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    values: Row = {name: bindparam(f"{name}_") for name in _VALUES}
    keys: Row = {"account_id": bindparam("account"), "key": bindparam("key_"), "revision": bindparam("first_revision")}
    return insert.values(**keys, **values).on_conflict_do_nothing().returning(table.c.account_id, table.c.key)


def _updating(table: Table) -> Update:
    columns = table.c
    return (
        update(table)
        .where(columns.account_id == bindparam("account"), columns.key == bindparam("key_"))
        .where(columns.revision == bindparam("expected"))
        .values(revision=columns.revision + 1, **{name: bindparam(f"{name}_") for name in _VALUES})
    )


def _erasing(table: Table) -> Delete:
    return delete(table).where(table.c.account_id == bindparam("account"))


def _to_row(document: Document) -> Row:
    """A document as the parameters of both writing statements.  Raises WriteRefused for what has no column."""
    if unknown := document.keys() - _FIELDS:
        raise WriteRefused(f"the SQL store has no column for {', '.join(sorted(unknown))}")
    account_id, _, key = str(document["_id"]).partition(":")
    row: Row = {f"{name}_": document.get(name) for name in _VALUES}
    row |= {"account": account_id, "key_": key, "expected": _to_revision(document)}
    # Not 1: what was erased and written again must not pass for what a slow writer read before.
    row["first_revision"] = random.randrange(1, 2**16)
    return row


def _to_revision(document: Mapping[str, Any]) -> int | None:
    """The revision to replace, None for a new document; a text that is none of ours replaces nothing."""
    text = document.get("_rev")
    if text is None:
        return None
    return int(text) if str(text).isdecimal() and len(text) < 10 else 0


def _to_document(account_id: str, key: str, revision: int, *values: Any) -> Document:
    document: Document = {"_id": f"{account_id}:{key}", "_rev": str(revision), "source_account": account_id}
    document.update((name, value) for name, value in zip(_VALUES, values, strict=True) if value is not None)
    return document
