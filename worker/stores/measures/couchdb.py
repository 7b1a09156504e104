"""The CouchDB measure store in the plain layout: one database a doctype, partitioned by account where the server can.

The first write creates a database.  Whether a server and a database are partitioned costs no request of its own: a
partition read is tried, and its failure is remembered in the process.  An account is read in one request a doctype, and
written in one request for 500 documents.

    database   com-grandlyon-enedis-day
    document   {"_id": "k9x4w:2024-07-25", "_rev": "1-967a…", "load": 7.654321, "year": 2024, …}

Source: CouchDB 3.5 documentation, ``_all_docs``, ``_bulk_docs`` and partitioned databases.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from worker.domain.series import Doctype
from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.base import NO_ROWS, Document, DocumentsByDoctype, Ranges, Rows, database_name
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
    """The five doctypes in a database each.

    There are no transactions: a worker killed between two doctypes leaves totals of before, which the next run computes
    again.
    """

    def __init__(self, databases: Mapping[Doctype, CouchDatabase]) -> None:
        self._databases = databases

    def __repr__(self) -> str:
        return f"CouchStore({', '.join(map(repr, self._databases.values()))})"

    def read(self, account_id: str, ranges: Ranges, limit: int | None = None) -> DocumentsByDoctype:
        """Read doctype after doctype, one request each."""
        return {doctype: self._databases[doctype].read(account_id, *keys, limit) for doctype, keys in ranges.items()}

    def write(self, documents: Rows, removals: Rows = NO_ROWS) -> DocumentsByDoctype:
        """Write doctype after doctype, one request each for 500 documents and removals."""
        lost: DocumentsByDoctype = {}
        for doctype in dict.fromkeys([*documents, *removals]):
            rows = [*documents.get(doctype, ()), *removals.get(doctype, ())]
            if lost.get(doctype.series.inputs):  # Its readings lost their race.
                lost[doctype] = rows
                continue
            deletions = [deletion_of(document) for document in removals.get(doctype, ())]
            conflicts = self._databases[doctype].write([*documents.get(doctype, ()), *deletions]) if rows else []
            ids = {document["_id"] for document in conflicts}
            lost[doctype] = [document for document in rows if document["_id"] in ids]
        return lost

    def erase(self, account_id: str) -> int:
        """Erase totals, then readings: while there is a reading, the account counts as not erased."""
        series = dict.fromkeys(doctype.series for doctype in self._databases)
        order = [doctype for name in series for doctype in reversed(name.doctypes)]
        return sum(self._databases[doctype].erase(account_id) for doctype in order)

    def prepare(self) -> dict[str, bool]:
        """Create the missing databases, with their shards and replicas."""
        return {doctype.full_name: database.create_if_missing() for doctype, database in self._databases.items()}

    def close(self) -> None:
        """Do nothing: connections are closed with the server object."""


class CouchDatabase:
    """One database; the account id is the partition of ``_id``."""

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
        self.name = prefix + database_name(doctype)
        if not _DATABASE_NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name!r} is not a valid database name: use a-z, 0-9 and dashes, and begin with a letter"
            )
        self._server = server
        self._sharding = {name: count for name, count in (("q", shards), ("n", replicas)) if count is not None}
        self._partitioned = True
        self._is_missing = False  # Whether the last answer said that there is no database.

    def __repr__(self) -> str:
        return f"CouchDatabase({self._server.origin}/{self.name})"

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        """Return the account's documents with ``first_key <= key < end_key``, in key order; one request."""
        if first_key >= end_key:  # For CouchDB such a range is an error.
            return []
        rows = self._read_rows(account_id, first_key, end_key, limit or _MOST_ROWS, include_docs="true")
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
            answer = self._server.request("POST", self.name, "_all_docs", body={"keys": keys}, include_docs="true")
            rows = self._rows_of(answer)
            if not self._is_missing and len(rows) != len(keys):
                raise self._unexpected_answer()
            try:
                documents += [row["doc"] for row in rows if "error" not in row and row["doc"]]
            except (KeyError, TypeError):
                raise self._unexpected_answer() from None
        return documents

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """Write documents, 500 a request, and return those that lost a race; ``_deleted`` deletes one.

        The package may send a request twice when the connection breaks.  The documents then lose against their own
        first write, and the store already has what they hold.
        """
        lost: list[Document] = []
        for first in range(0, len(documents), MOST_DOCUMENTS_A_REQUEST):
            batch = documents[first : first + MOST_DOCUMENTS_A_REQUEST]
            if conflicts := self._bulk(batch):
                lost += [document for document in batch if document["_id"] in conflicts]
        return lost

    def erase(self, account_id: str) -> int:
        """Delete all documents of the account, 500 in two requests, and return their number."""
        erased = failed_rounds = 0
        while rows := self._read_rows(account_id, "", None, MOST_DOCUMENTS_A_REQUEST):
            try:
                stubs = [deletion_of({"_id": row["id"], "_rev": row["value"]["rev"]}) for row in rows]
            except (KeyError, TypeError):
                raise self._unexpected_answer() from None
            count = len(stubs) - len(self.write(stubs))
            erased += count
            failed_rounds = 0 if count else failed_rounds + 1
            if failed_rounds == _FRUITLESS_ROUNDS:
                raise StoreUnavailable(f"{self.name}: documents keep changing while they are erased, try again")
        return erased

    def create_if_missing(self) -> bool:
        """Create the database, with its shards and replicas, and return whether it was missing.

        In a cluster, 202 means that some nodes don't know of it yet.  Source: CouchDB 3.5, PUT /{db}.
        """
        answer = self._server.request("PUT", self.name, partitioned="true", **self._sharding)
        if not answer.ok and answer.status != 412:  # 412: It exists already.
            reason = f"CouchDB answers {answer.status}"
            if answer.status == 400 and self._sharding:
                reason += "; check RELEVE_COUCHDB_SHARDS and RELEVE_COUCHDB_REPLICAS"
            raise WriteRefused(f"database {self.name} can't be created: {reason}")
        self._is_missing = False
        return answer.ok

    def is_empty(self) -> bool:
        """Return whether there are no documents or no database; creates nothing."""
        answer = self._server.request("GET", self.name, "_all_docs", limit=1)
        if answer.status == 404:
            return True
        if not answer.ok or not isinstance(answer.body, dict):
            raise self._unexpected_answer()
        return not answer.body.get("rows")

    def _read_rows(self, account_id: str, first_key: str, end_key: str | None, limit: int, **query: str) -> list[Any]:
        """Return the rows of ``_all_docs`` with ``first_key <= key < end_key``; a missing database has none.

        The account's partition alone is asked where there is one, which spares the other shards.
        """
        # The character ';' follows ':' directly.
        end_id = f"{account_id};" if end_key is None else f"{account_id}:{end_key}"
        bounds = {"startkey": json.dumps(f"{account_id}:{first_key}"), "endkey": json.dumps(end_id)}
        everything: dict[str, str | int] = {**query, **bounds, "inclusive_end": "false", "limit": limit}
        if not (self._server.partitions and self._partitioned):
            return self._rows_of(self._server.request("GET", self.name, "_all_docs", **everything))
        answer = self._server.request("GET", self.name, "_partition", account_id, "_all_docs", **everything)
        if answer.ok or answer.reason in _NO_DATABASE:
            return self._rows_of(answer)
        whole = self._server.request("GET", self.name, "_all_docs", **everything)
        if whole.ok and answer.status == 400:  # "database is not partitioned": an administrator created it.
            self._partitioned = False
        elif whole.ok:  # There is no such path before CouchDB 3.
            self._server.partitions = False
        return self._rows_of(whole)

    def _rows_of(self, answer: CouchAnswer) -> list[Any]:
        self._is_missing = answer.status == 404 and answer.error == "not_found"
        if self._is_missing:
            return []
        if not answer.ok:
            raise StoreUnavailable(f"{self.name}: CouchDB answers {answer.status} to a read: check the address")
        if not isinstance(answer.body, dict) or not isinstance(rows := answer.body.get("rows"), list):
            raise self._unexpected_answer()
        return rows

    def _bulk(self, documents: Sequence[Document]) -> set[str]:
        """Write at most 500 documents in one request and return the ids of those that lost a race.

        ``_bulk_docs`` is not atomic: it answers 201 even where single documents failed, so each row is checked.
        """
        if self._is_missing:
            self.create_if_missing()
        answer = self._server.request("POST", self.name, "_bulk_docs", body={"docs": documents})
        if answer.status == 404:
            self.create_if_missing()
            answer = self._server.request("POST", self.name, "_bulk_docs", body={"docs": documents})
        if answer.status == 404:
            raise StoreUnavailable(f"{self.name} can't be created or written to: check the address of CouchDB")
        if not answer.ok:  # Too large or malformed: the same request would fail again.
            raise WriteRefused(f"bulk write to {self.name}: CouchDB answers {answer.status}")
        try:
            failed = {row["id"]: error_name(row["error"]) for row in answer.body if "error" in row}
            answered = {row["id"] for row in answer.body}
        except (KeyError, TypeError):
            raise self._unexpected_answer() from None
        errors = set(failed.values()) - {"conflict"}
        if refused := errors - _ROW_OUTAGES:
            raise WriteRefused(f"bulk write to {self.name}: {', '.join(sorted(refused))}")
        if errors or answered != {document["_id"] for document in documents}:
            reason = ", ".join(sorted(errors)) or "the answer lacks some documents"
            raise StoreUnavailable(f"bulk write to {self.name}: {reason}")
        return set(failed)

    def _unexpected_answer(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self.name}: the answer is not from CouchDB: check the address")


def deletion_of(document: Document) -> Document:
    """Return the stub that deletes this revision of a document.

    CouchDB 3.5 answers "ok" where the document never existed: then it is gone all the same.
    """
    return {"_id": document["_id"], "_rev": document["_rev"], "_deleted": True}
