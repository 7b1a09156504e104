"""The CouchDB measure store: one database a doctype, partitioned by account where the server can.

The first write creates a database.  Whether a server and a database are partitioned costs no request of its own: a
partition read is tried, and its failure is remembered in the process.  An account is read in one request, and written
in one request for 500 documents.

    database   com-grandlyon-enedis-day
    document   {"_id": "k9x4w:2024-07-25", "_rev": "1-967a…", "load": 7.654321, "year": 2024, …}

Source: CouchDB 3.5 documentation, ``_all_docs``, ``_bulk_docs`` and partitioned databases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.base import Document
from worker.stores.measures.couchdb_http import CouchAnswer, CouchServer, error_name

MOST_DOCUMENTS_A_REQUEST: Final = 500
# Sent with each read: without a limit, a server with a cap on partition reads silently leaves out the rest.
_MOST_ROWS: Final = 1_000_000
_FRUITLESS_ROUNDS: Final = 3  # One is usual: the package may have sent the deletion twice.
_NO_DATABASE: Final = {"Database does not exist.", "no_db_file"}  # CouchDB 3; CouchDB 1 and 2, pouchdb-server.
# Errors of single rows that are the server's fault; any other error except a conflict is a refusal.
_ROW_OUTAGES: Final = {"internal_server_error", "service_unavailable", "timeout", "unknown_error"}
_DATABASE_NAME: Final = re.compile(r"[a-z][a-z0-9_$()+-]*")


class CouchStore:
    """The documents of one doctype; the account id is the partition of ``_id``."""

    def __init__(
        self,
        server: CouchServer,
        doctype: str,
        prefix: str = "",
        *,
        shards: int | None = None,
        replicas: int | None = None,
    ) -> None:
        """Name the database; connects to nothing.

        ``prefix`` separates the databases of several installations.  ``shards`` (q) and ``replicas`` (n) apply when the
        database is created; None leaves them to the server.  Raises ValueError for a name that CouchDB refuses.
        """
        self.database = prefix + doctype.replace(".", "-")  # CouchDB allows no dots in names of databases.
        if not _DATABASE_NAME.fullmatch(self.database):
            raise ValueError(f"no database can be called {self.database!r}: use a-z, 0-9 and dashes, a letter first")
        self._server = server
        self._sharding = {name: count for name, count in (("q", shards), ("n", replicas)) if count is not None}
        self._partitioned = True
        self._database_missing = False  # Whether the last answer said that there is no database.

    def __repr__(self) -> str:
        return f"CouchStore({self._server.origin}/{self.database})"

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        """Return the account's documents with ``first_key <= key < end_key``, in key order; one request."""
        if first_key >= end_key:  # For CouchDB such a range is an error.
            return []
        bounds = f"{account_id}:{first_key}", f"{account_id}:{end_key}"
        rows = self._read_rows(account_id, *bounds, include_docs="true", limit=limit or _MOST_ROWS)
        try:
            return [row["doc"] for row in rows if row["doc"]]  # It is null where it was erased meanwhile.
        except (KeyError, TypeError):
            raise self._unexpected_answer() from None

    def look_up(self, ids: Sequence[str]) -> list[Document]:
        """Return the documents with these ids that exist, of any accounts; one request for 500.

        The row of a document that never existed has ``error``; that of a deleted one has ``doc`` null.  Source: CouchDB
        3.5, POST /{db}/_all_docs.
        """
        documents: list[Document] = []
        for first in range(0, len(ids), MOST_DOCUMENTS_A_REQUEST):
            keys = ids[first : first + MOST_DOCUMENTS_A_REQUEST]
            rows = self._rows_of(
                self._server.post(self.database, "_all_docs", body={"keys": keys}, include_docs="true")
            )
            if not self._database_missing and len(rows) != len(keys):
                raise self._unexpected_answer()
            try:
                documents += [row["doc"] for row in rows if "error" not in row and row["doc"]]
            except (KeyError, TypeError):
                raise self._unexpected_answer() from None
        return documents

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """Write documents, 500 a request, and return those that lost a race.

        The package may send a request twice when the connection breaks.  The documents then lose against their own
        first write, and the store already has what they hold.
        """
        lost: list[Document] = []
        for first in range(0, len(documents), MOST_DOCUMENTS_A_REQUEST):
            batch = documents[first : first + MOST_DOCUMENTS_A_REQUEST]
            conflicts = self._bulk(batch)
            lost += [document for document in batch if document["_id"] in conflicts]
        return lost

    def erase(self, account_id: str) -> int:
        """Delete all documents of the account, 500 in two requests, and return their number."""
        erased = failed_rounds = 0
        while stubs := list(self._deletion_stubs(account_id)):
            count = len(stubs) - len(self._bulk(stubs))
            erased += count
            failed_rounds = 0 if count else failed_rounds + 1
            if failed_rounds == _FRUITLESS_ROUNDS:
                raise StoreUnavailable(f"{self.database}: documents keep changing while they are erased, try again")
        return erased

    def create_if_missing(self) -> bool:
        """Create the database, with its shards and replicas, and return whether it was missing."""
        return self._create()

    def is_empty(self) -> bool:
        """Return whether there are no documents or no database; creates nothing."""
        answer = self._server.get(self.database, "_all_docs", limit=1)
        if answer.status == 404:
            return True
        if not answer.ok or not isinstance(answer.body, dict):
            raise self._unexpected_answer()
        return not answer.body.get("rows")

    def _deletion_stubs(self, account_id: str) -> Iterator[Document]:
        """Yield the stubs that delete the account's first 500 documents, without their content."""
        bounds = f"{account_id}:", f"{account_id};"  # The character ';' follows ':' directly.
        try:
            for row in self._read_rows(account_id, *bounds, limit=MOST_DOCUMENTS_A_REQUEST):
                yield {"_id": row["id"], "_rev": row["value"]["rev"], "_deleted": True}
        except (KeyError, TypeError):
            raise self._unexpected_answer() from None

    def _read_rows(self, account_id: str, first_id: str, end_id: str, **query: str | int) -> list[Any]:
        """Return the rows of ``_all_docs`` with ``first_id <= id < end_id``; a missing database has none."""
        query |= {"startkey": json.dumps(first_id), "endkey": json.dumps(end_id), "inclusive_end": "false"}
        return self._rows_of(self._get_rows(account_id, query))

    def _rows_of(self, answer: CouchAnswer) -> list[Any]:
        self._database_missing = answer.status == 404 and answer.error == "not_found"
        if self._database_missing:
            return []
        if not answer.ok:
            raise StoreUnavailable(f"{self.database}: CouchDB answers {answer.status} to a read: check the address")
        if not isinstance(answer.body, dict) or not isinstance(rows := answer.body.get("rows"), list):
            raise self._unexpected_answer()
        return rows

    def _get_rows(self, account_id: str, query: dict[str, str | int]) -> CouchAnswer:
        """Ask the account's partition alone where there is one, which spares the other shards."""
        if not (self._server.partitions and self._partitioned):
            return self._server.get(self.database, "_all_docs", **query)
        answer = self._server.get(self.database, "_partition", account_id, "_all_docs", **query)
        if answer.ok or answer.reason in _NO_DATABASE:
            return answer
        plain = self._server.get(self.database, "_all_docs", **query)
        if plain.ok and answer.status == 400:  # "database is not partitioned": an administrator created it.
            self._partitioned = False
        elif plain.ok:  # There is no such path before CouchDB 3.
            self._server.partitions = False
        return plain

    def _bulk(self, documents: Sequence[Document]) -> set[str]:
        """Write at most 500 documents in one request and return the ids of those that lost a race."""
        if self._database_missing:
            self._create()
        answer = self._post(documents)
        if answer.status == 404:
            self._create()
            answer = self._post(documents)
        if answer.status == 404:
            raise StoreUnavailable(f"{self.database} can't be created or written to: check the address of CouchDB")
        if not answer.ok:  # Too large or malformed: the same request would fail again.
            raise WriteRefused(f"bulk write to {self.database}: CouchDB answers {answer.status}")
        return self._conflicts(documents, answer.body)

    def _post(self, documents: Sequence[Document]) -> CouchAnswer:
        return self._server.post(self.database, "_bulk_docs", body={"docs": documents})

    def _create(self) -> bool:
        """Create the database and return whether it was missing.

        In a cluster, 202 means that some nodes don't know of it yet.  Source: CouchDB 3.5, PUT /{db}.
        """
        answer = self._server.put(self.database, partitioned="true", **self._sharding)
        if not answer.ok and answer.status != 412:  # 412: It exists already.
            reason = f"CouchDB answers {answer.status}"
            if answer.status == 400 and self._sharding:
                reason += "; check RELEVE_COUCHDB_SHARDS and RELEVE_COUCHDB_REPLICAS"
            raise WriteRefused(f"database {self.database} can't be created: {reason}")
        self._database_missing = False
        return answer.ok

    def _conflicts(self, documents: Sequence[Document], rows: Any) -> set[str]:
        """Check each row of a ``_bulk_docs`` answer and return the ids in conflict.

        ``_bulk_docs`` is not atomic: it answers 201 even where single documents failed.
        """
        try:
            failed = {row["id"]: error_name(row["error"]) for row in rows if "error" in row}
            answered = {row["id"] for row in rows}
        except (KeyError, TypeError):
            raise self._unexpected_answer() from None
        errors = set(failed.values()) - {"conflict"}
        if refused := errors - _ROW_OUTAGES:
            raise WriteRefused(f"bulk write to {self.database}: {', '.join(sorted(refused))}")
        if errors or answered != {document["_id"] for document in documents}:
            reason = ", ".join(sorted(errors)) or "not every document was answered for"
            raise StoreUnavailable(f"bulk write to {self.database}: {reason}")
        return set(failed)

    def _unexpected_answer(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self.database}: the answer has not the shape of CouchDB's: check the address")
