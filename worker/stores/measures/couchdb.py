"""Documents in CouchDB: one database a doctype, an account's documents next to each other in it.

A database is made when something is first written to it, partitioned by account where the server can do so.
Which kind a database is costs no question: a partition read is tried, and a server or database that does not
know it says so once a process.  An account is read in one request and written in one per 500 documents.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures.base import Document
from worker.stores.measures.couchdb_http import CouchAnswer, CouchServer, plain_word

MOST_DOCUMENTS_A_REQUEST: Final = 500  # W1
# Said for safety: without it a server that caps partition reads would leave out the rest without a word.
_MOST_ROWS: Final = 1_000_000
_FRUITLESS_ROUNDS: Final = 3  # one comes from a deletion that was sent twice
_NO_DATABASE: Final = {"Database does not exist.", "no_db_file"}  # CouchDB 3; CouchDB 1 and 2, pouchdb-server
# Faults of the server's own that it reports row by row; anything else but a conflict is a refusal.
_ROW_OUTAGES: Final = {"internal_server_error", "service_unavailable", "timeout", "unknown_error"}
_DATABASE_NAME: Final = re.compile(r"[a-z][a-z0-9_$()+-]*")


class CouchStore:
    """The documents of one doctype; ``_id`` is the account id and the period key, the account its partition."""

    def __init__(
        self,
        server: CouchServer,
        doctype: str,
        prefix: str = "",
        *,
        shards: int | None = None,
        replicas: int | None = None,
    ) -> None:
        """``prefix`` sets the databases of one Relève apart from another's.  Raises ValueError.

        ``shards`` (q) and ``replicas`` (n) are for the database when it is made; None leaves it to the server.
        """
        self.database = prefix + doctype.replace(".", "-")  # dots are illegal in database names (D1)
        if not _DATABASE_NAME.fullmatch(self.database):
            raise ValueError(f"no database can be called {self.database!r}: use a-z, 0-9 and dashes, a letter first")
        self._server = server
        self._layout = {name: count for name, count in (("q", shards), ("n", replicas)) if count is not None}
        self._partitioned = True
        self._missing = False  # as the last answer told

    def __repr__(self) -> str:
        return f"CouchStore({self._server.origin}/{self.database})"

    def read(self, account_id: str, first_key: str, end_key: str, limit: int | None = None) -> list[Document]:
        """The account's documents with ``first_key <= key < end_key`` in key order; one request."""
        if first_key >= end_key:  # CouchDB calls such a range an error
            return []
        bounds = f"{account_id}:{first_key}", f"{account_id}:{end_key}"
        rows = self._rows(account_id, *bounds, include_docs="true", limit=limit or _MOST_ROWS)
        try:
            return [row["doc"] for row in rows if row["doc"]]  # null where it was erased meanwhile
        except (KeyError, TypeError):
            raise self._strange() from None

    def look_up(self, ids: Sequence[str]) -> list[Document]:
        """Those of these documents that are there; one request for 500, of whatever accounts.

        A row of a document that never was has an ``error`` alone, one of a deleted document has null in its
        place.  Source: CouchDB 3.5, POST /{db}/_all_docs.
        """
        found: list[Document] = []
        for first in range(0, len(ids), MOST_DOCUMENTS_A_REQUEST):
            keys = ids[first : first + MOST_DOCUMENTS_A_REQUEST]
            rows = self._rows_of(
                self._server.post(self.database, "_all_docs", body={"keys": keys}, include_docs="true")
            )
            if not self._missing and len(rows) != len(keys):
                raise self._strange()
            try:
                found += [row["doc"] for row in rows if "error" not in row and row["doc"]]
            except (KeyError, TypeError):
                raise self._strange() from None
        return found

    def write(self, documents: Sequence[Document]) -> list[Document]:
        """Write in requests of 500; give back those that lost a race, to be decided anew.

        The package may send a request twice when the connection breaks.  Then our own first writing wins the
        race, and a loser's store has already what it wanted to write.
        """
        lost: list[Document] = []
        for first in range(0, len(documents), MOST_DOCUMENTS_A_REQUEST):
            batch = documents[first : first + MOST_DOCUMENTS_A_REQUEST]
            conflicts = self._bulk(batch)
            lost += [document for document in batch if document["_id"] in conflicts]
        return lost

    def erase(self, account_id: str) -> int:
        """Delete all documents of the account, 500 in two requests; how many there were."""
        erased = fruitless = 0
        while stubs := list(self._stubs(account_id)):
            gone = len(stubs) - len(self._bulk(stubs))
            erased += gone
            fruitless = 0 if gone else fruitless + 1
            if fruitless == _FRUITLESS_ROUNDS:
                raise StoreUnavailable(f"{self.database}: documents keep changing while they are erased, try again")
        return erased

    def create_if_missing(self) -> bool:
        """Make the database with its shards and replicas; whether it was not there yet."""
        return self._create()

    def is_empty(self) -> bool:
        """Whether no account has anything here; makes no database."""
        answer = self._server.get(self.database, "_all_docs", limit=1)
        if answer.status == 404:
            return True
        if not answer.ok or not isinstance(answer.body, dict):
            raise self._strange()
        return not answer.body.get("rows")

    def _stubs(self, account_id: str) -> Iterator[Document]:
        """What deletes the account's first 500 documents, with nothing left of their content."""
        bounds = f"{account_id}:", f"{account_id};"  # ';' comes right after ':'
        try:
            for row in self._rows(account_id, *bounds, limit=MOST_DOCUMENTS_A_REQUEST):
                yield {"_id": row["id"], "_rev": row["value"]["rev"], "_deleted": True}
        except (KeyError, TypeError):
            raise self._strange() from None

    def _rows(self, account_id: str, first_id: str, end_id: str, **query: str | int) -> list[Any]:
        """Rows of ``_all_docs`` with ``first_id <= id < end_id``; a missing database has none."""
        query |= {"startkey": json.dumps(first_id), "endkey": json.dumps(end_id), "inclusive_end": "false"}
        return self._rows_of(self._ask(account_id, query))

    def _rows_of(self, answer: CouchAnswer) -> list[Any]:
        self._missing = answer.status == 404 and answer.error == "not_found"
        if self._missing:
            return []
        if not answer.ok:
            raise StoreUnavailable(f"{self.database}: CouchDB answers {answer.status} to a read: check the address")
        if not isinstance(answer.body, dict) or not isinstance(rows := answer.body.get("rows"), list):
            raise self._strange()
        return rows

    def _ask(self, account_id: str, query: dict[str, str | int]) -> CouchAnswer:
        """From the account's partition alone where there is one, which spares the other shards the work."""
        if not (self._server.partitions and self._partitioned):
            return self._server.get(self.database, "_all_docs", **query)
        answer = self._server.get(self.database, "_partition", account_id, "_all_docs", **query)
        if answer.ok or answer.reason in _NO_DATABASE:
            return answer
        plain = self._server.get(self.database, "_all_docs", **query)
        if plain.ok and answer.status == 400:  # "database is not partitioned": an administrator made it
            self._partitioned = False
        elif plain.ok:  # no such path: not CouchDB 3
            self._server.partitions = False
        return plain

    def _bulk(self, documents: Sequence[Document]) -> set[str]:
        """Write at most 500 documents in one request; the ids of those that lost a race."""
        if self._missing:
            self._create()
        answer = self._post(documents)
        if answer.status == 404:
            self._create()
            answer = self._post(documents)
        if answer.status == 404:
            raise StoreUnavailable(f"{self.database} can't be created or written to: check the address of CouchDB")
        if not answer.ok:  # too large, malformed: all of it, and again each time
            raise WriteRefused(f"bulk write to {self.database}: CouchDB answers {answer.status}")
        return self._conflicts(documents, answer.body)

    def _post(self, documents: Sequence[Document]) -> CouchAnswer:
        return self._server.post(self.database, "_bulk_docs", body={"docs": documents})

    def _create(self) -> bool:
        """Make the database, or find that somebody did; whether it was us.

        In a cluster 202 says that not every node has heard of it yet.  Source: CouchDB 3.5, PUT /{db}.
        """
        answer = self._server.put(self.database, partitioned="true", **self._layout)
        if not answer.ok and answer.status != 412:
            told = f"CouchDB answers {answer.status}"
            if answer.status == 400 and self._layout:
                told += "; check RELEVE_COUCHDB_SHARDS and RELEVE_COUCHDB_REPLICAS"
            raise WriteRefused(f"database {self.database} can't be created: {told}")
        self._missing = False
        return answer.ok

    def _conflicts(self, documents: Sequence[Document], rows: Any) -> set[str]:
        """Every row's answer is looked at (W2): ``_bulk_docs`` is not atomic and says 201 all the same."""
        try:
            failed = {row["id"]: plain_word(row["error"]) for row in rows if "error" in row}
            answered = {row["id"] for row in rows}
        except (KeyError, TypeError):
            raise self._strange() from None
        errors = set(failed.values()) - {"conflict"}
        if refused := errors - _ROW_OUTAGES:
            raise WriteRefused(f"bulk write to {self.database}: {', '.join(sorted(refused))}")
        if errors or answered != {document["_id"] for document in documents}:
            told = ", ".join(sorted(errors)) or "not every document was answered for"
            raise StoreUnavailable(f"bulk write to {self.database}: {told}")
        return set(failed)

    def _strange(self) -> StoreUnavailable:
        return StoreUnavailable(f"{self.database}: the answer has not the shape of CouchDB's: check the address")
