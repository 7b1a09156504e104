"""Packs in SQL: one table a series, one row a pack, with JSON text and compare-and-set on a revision column."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

from worker.domain.measures.documents import account_of, key_of
from worker.domain.measures.readings import Series
from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.base import Document
from worker.stores.measures.sql_database import SqlDatabase
from worker.stores.measures.sql_statements import (
    EXPECTED,
    MOST_ROWS_A_STATEMENT,
    build_remover,
    erase_statement,
    execute_in_chunks,
    has_rows,
    lookup_query,
    range_query,
    writing_statements,
)
from worker.stores.measures.sql_tables import PACK_TABLES


class SqlPacks:
    """The packs of one series; writing a document with ``_deleted`` deletes it, as in CouchDB."""

    def __init__(self, database: SqlDatabase, series: Series) -> None:
        self._database = database
        self._table = PACK_TABLES[series]
        self._read = range_query(self._table)
        self._look_up = lookup_query(self._table)
        self._erase = erase_statement(self._table)
        self._remove = build_remover(self._table)
        self._statements = writing_statements(self._table, database.dialect)

    def __repr__(self) -> str:
        return f"SqlPacks({self._table.name} at {self._database.address})"

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        """Return the account's packs with ``first_key <= key < end_key``, in key order; one statement."""
        bounds = {"account": account_id, "first_key": first_key, "end_key": end_key}
        query = self._read if limit is None else self._read.limit(limit)
        with self._database.read_connection() as connection:
            rows = connection.execute(query, bounds).all()
        return [self._to_document(account_id, *row) for row in rows]

    def look_up(self, ids: Sequence[str]) -> list[Document]:
        """Return the packs with these ids that exist; one statement for 500."""
        keys = [tuple(name.split(":", 1)) for name in ids]
        with self._database.read_connection() as connection:
            rows = [
                row
                for first in range(0, len(keys), MOST_ROWS_A_STATEMENT)
                for row in connection.execute(self._look_up, {"keys": keys[first : first + MOST_ROWS_A_STATEMENT]})
            ]
        return [self._to_document(*row) for row in rows]

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """Write packs in one transaction and return those that lost a race."""
        if not documents:
            return []
        rows = sorted(map(_to_row, documents), key=lambda row: (row["account_id"], row["key"]))
        new = [row for row in rows if row[EXPECTED] is None]
        changed = [row for row in rows if row[EXPECTED] is not None and row["body"]]
        deleted = [row for row in rows if row[EXPECTED] is not None and not row["body"]]
        with self._database.transaction() as connection:
            won = execute_in_chunks(self._statements.create, connection, new)
            won |= execute_in_chunks(self._statements.replace, connection, changed)
            won |= self._remove(connection, deleted)
        return [document for document in documents if document["_id"] not in won]

    def erase(self, account_id: str) -> int:
        with self._database.transaction() as connection:
            return connection.execute(self._erase, {"account": account_id}).rowcount

    def create_if_missing(self) -> bool:
        """Create the table and return whether it was missing."""
        return self._database.create_missing(self._table)

    def is_empty(self) -> bool:
        """Return whether there are no rows or no table; creates nothing."""
        return not self._database.read_existing(lambda connection: has_rows(connection, self._table))

    def _to_document(self, account_id: str, key: str, revision: int, body: str) -> Document:
        try:
            return {**json.loads(body), "_id": f"{account_id}:{key}", "_rev": str(revision)}
        except (TypeError, ValueError):
            raise StoreUnavailable(f"{self!r}: a row is damaged: bring it back from a backup, or delete it") from None


def _to_row(document: Document) -> dict[str, Any]:
    body = {name: field for name, field in document.items() if name not in ("_id", "_rev")}
    expected = int(document["_rev"]) if "_rev" in document else None
    try:
        text = "" if document.get("_deleted") else json.dumps(body, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError):
        raise WriteRefused("a document holds a value that JSON has no word for") from None
    return {
        "account_id": account_of(document),
        "key": key_of(document),
        "body": text,
        EXPECTED: expected,
        # Random, so that a pack that was erased and written again can't pass for the one that a slow writer read.
        "revision": random.randrange(1, 2**16) if expected is None else expected + 1,
    }
