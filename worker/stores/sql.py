"""Documents in SQL, the embedded default: one table a doctype, compare-and-set on a revision column."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from worker.domain.readings import Period
from worker.errors import WriteRefused
from worker.stores.consumption import Document
from worker.stores.sql_database import SqlDatabase
from worker.stores.sql_statements import EXPECTED, VALUES, Ids, Rows, erasing, reading, writing
from worker.stores.sql_tables import TABLES

MOST_ROWS_A_STATEMENT: Final = 500  # W1
_FIELDS: Final = frozenset({"_id", "_rev", "source_account", *VALUES})
_NO_REVISION: Final = 0  # of no row


class SqlStore:
    """The documents of one doctype; account and key are the primary key, ``_rev`` the revision as text.

    ``source_account`` is the account of the ``_id``, so it is not kept twice.
    """

    def __init__(self, database: SqlDatabase, period: Period) -> None:
        self._database = database
        self._table = TABLES[period]
        self._read = reading(self._table)
        self._erase = erasing(self._table)
        self._statements = writing(self._table, database.dialect)

    def __repr__(self) -> str:
        return f"SqlStore({self._table.name} at {self._database.address})"

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        """The account's documents with ``first_key <= key < end_key`` in key order; one statement."""
        bounds = {"account": account_id, "first_key": first_key, "end_key": end_key}
        with self._database.transaction() as connection:
            rows = connection.execute(self._read.limit(limit), bounds).all()
        return [_to_document(account_id, *row) for row in rows]

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """Write in one transaction; give back those that lost a race, to be decided anew."""
        if not documents:
            return []
        # In key order, so that two writers wait for each other in turn and never in a circle.
        rows = sorted(map(_to_row, documents), key=lambda row: (row["account_id"], row["key"]))
        new = [row for row in rows if row[EXPECTED] is None]
        changed = [row for row in rows if row[EXPECTED] is not None]
        with self._database.transaction() as connection:
            won = _in_pieces(self._statements.create, connection, new)
            won |= _in_pieces(self._statements.replace, connection, changed)
        return [document for document in documents if document["_id"] not in won]

    def erase(self, account_id: str) -> int:
        """Delete all documents of the account; how many there were."""
        with self._database.transaction() as connection:
            return connection.execute(self._erase, {"account": account_id}).rowcount

    def create_if_missing(self) -> bool:
        """Make the table; whether it was not there yet."""
        return self._database.create_missing(self._table)


def _in_pieces(statement: Callable[[Connection, Rows], Ids], connection: Connection, rows: Rows) -> Ids:
    won: Ids = set()
    for first in range(0, len(rows), MOST_ROWS_A_STATEMENT):
        won |= statement(connection, rows[first : first + MOST_ROWS_A_STATEMENT])
    return won


def _to_row(document: Document) -> dict[str, Any]:
    """A document by the names of the columns.  Raises WriteRefused for what has no column."""
    if unknown := document.keys() - _FIELDS:
        raise WriteRefused(f"the SQL store has no column for {', '.join(sorted(unknown))}")
    row = {name: document.get(name) for name in VALUES}
    row["account_id"], _, row["key"] = str(document["_id"]).partition(":")
    row[EXPECTED] = expected = _to_revision(document)
    # A first one is not 1: what was erased and written again must not pass for what a slow writer read before.
    row["revision"] = random.randrange(1, 2**16) if expected is None else expected + 1
    return row


def _to_revision(document: Mapping[str, Any]) -> int | None:
    """The revision to replace, None for a new document; a text that is none of ours replaces nothing."""
    text = document.get("_rev")
    if text is None:
        return None
    return int(text) if str(text).isdecimal() and len(text) < 10 else _NO_REVISION


def _to_document(account_id: str, key: str, revision: int, *values: Any) -> Document:
    document: Document = {"_id": f"{account_id}:{key}", "_rev": str(revision), "source_account": account_id}
    return document | {name: value for name, value in zip(VALUES, values, strict=True) if value is not None}
