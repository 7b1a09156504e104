"""The SQL measure store, the default on one machine: one table a doctype, compare-and-set on a revision column."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Connection

from worker.domain.measures.readings import Period
from worker.errors import WriteRefused
from worker.stores.measures.base import Document
from worker.stores.measures.sql_database import SqlDatabase
from worker.stores.measures.sql_statements import (
    EXPECTED,
    erase_statement,
    execute_in_chunks,
    has_rows,
    range_query,
    writing_statements,
)
from worker.stores.measures.sql_tables import OPTIONAL, TABLES, VALUES

_FIELDS: Final = frozenset({"_id", "_rev", "source_account", *VALUES})
_NO_REVISION: Final = 0  # No row has this revision.


class SqlStore:
    """The documents of one doctype; account and key are the primary key, and ``_rev`` is the revision as text.

    ``source_account`` has no column, because it is the account in ``_id``.
    """

    def __init__(self, database: SqlDatabase, period: Period) -> None:
        self._database = database
        self._table = TABLES[period]
        self._read = range_query(self._table)
        self._erase = erase_statement(self._table)
        self._statements = writing_statements(self._table, database.dialect)

    def __repr__(self) -> str:
        return f"SqlStore({self._table.name} at {self._database.address})"

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        """Return the account's documents with ``first_key <= key < end_key``, in key order; one statement."""
        bounds = {"account": account_id, "first_key": first_key, "end_key": end_key}
        query = self._read if limit is None else self._read.limit(limit)
        with self._database.read_connection() as connection:
            rows = connection.execute(query, bounds).all()
        return [to_document(account_id, *row) for row in rows]

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """Write documents in one transaction and return those that lost a race."""
        if not documents:
            return []
        with self._database.transaction() as connection:
            return self.write_within(connection, documents)

    def write_within(self, connection: Connection, documents: Sequence[Document]) -> list[Document]:
        """Write documents in the caller's transaction and return those that lost a race."""
        # In key order, so that two writers wait for each other in turn and never deadlock.
        rows = sorted(map(_to_row, documents), key=lambda row: (row["account_id"], row["key"]))
        new = [row for row in rows if row[EXPECTED] is None]
        changed = [row for row in rows if row[EXPECTED] is not None]
        won = execute_in_chunks(self._statements.create, connection, new)
        won |= execute_in_chunks(self._statements.replace, connection, changed)
        return [document for document in documents if document["_id"] not in won]

    def erase(self, account_id: str) -> int:
        """Delete all documents of the account and return their number."""
        with self._database.transaction() as connection:
            return connection.execute(self._erase, {"account": account_id}).rowcount

    def create_if_missing(self) -> bool:
        """Create the table and return whether it was missing."""
        return self._database.create_missing(self._table)

    def is_empty(self) -> bool:
        """Return whether there are no rows or no table; creates nothing."""
        return not self._database.read_existing(lambda connection: has_rows(connection, self._table))


def _to_row(document: Document) -> dict[str, Any]:
    """Return a document by the names of the columns.

    Raises WriteRefused for a field without a column.
    """
    if unknown := document.keys() - _FIELDS:
        raise WriteRefused(f"the SQL store has no column for {', '.join(sorted(unknown))}")
    row = {name: document.get(name) for name in VALUES}
    row["account_id"], _, row["key"] = str(document["_id"]).partition(":")
    row[EXPECTED] = expected = _to_revision(document)
    # The first revision is random: a row that was erased and written again must not pass for the one that a slow
    # writer read before.
    row["revision"] = random.randrange(1, 2**16) if expected is None else expected + 1
    return row


def _to_revision(document: Mapping[str, Any]) -> int | None:
    """Return the revision to replace, None for a new document; another store's text matches no row."""
    text = document.get("_rev")
    if text is None:
        return None
    return int(text) if str(text).isdecimal() and len(text) < 10 else _NO_REVISION


def to_document(account_id: str, key: str, revision: int, *values: Any) -> Document:
    """Return a row's key, revision and ``VALUES`` as a document."""
    document: Document = {"_id": f"{account_id}:{key}", "_rev": str(revision), "source_account": account_id}
    document.update(zip(VALUES, values, strict=True))
    for name in OPTIONAL:
        if document[name] is None:
            del document[name]
    return document
