"""The five doctypes of one SQL database; those of a series are read by one statement and written in one transaction.

Each nightly window needs readings and their totals.  One statement reads both from the same moment, and one commit
waits for the disk once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import CompoundSelect, bindparam, literal, select, union_all

from worker.domain.measures.documents import account_of
from worker.domain.measures.readings import Period
from worker.stores.measures.base import ByPeriod, Document, KeyRange, LazyDocuments, ReadRequest
from worker.stores.measures.sql import SqlStore, to_document
from worker.stores.measures.sql_database import SqlDatabase
from worker.stores.measures.sql_tables import TABLES, VALUES

_INPUTS: Final = frozenset({Period.MINUTE, Period.DAY})
_BY_KEY: Final = itemgetter(2)


class SqlMeasures(Mapping[Period, SqlStore]):
    """The stores of the five doctypes in one ``database``; errors as of MeasureStore."""

    def __init__(self, database: SqlDatabase) -> None:
        self._database = database
        self._stores = {period: SqlStore(database, period) for period in Period}

    def __getitem__(self, period: Period) -> SqlStore:
        return self._stores[period]

    def __iter__(self) -> Iterator[Period]:
        return iter(self._stores)

    def __len__(self) -> int:
        return len(self._stores)

    def read_together(self, account_id: str, ranges: Mapping[Period, KeyRange]) -> ByPeriod:
        """Read the doctypes of one series in one statement."""
        return self.read_at_once([(account_id, ranges)])[0]()

    def read_at_once(self, requests: Sequence[ReadRequest]) -> list[LazyDocuments]:
        """Do ``read_together`` for each request; one statement for all accounts with the same ranges."""
        accounts_by_ranges: defaultdict[tuple[tuple[Period, KeyRange], ...], list[str]] = defaultdict(list)
        for account_id, ranges in requests:
            accounts_by_ranges[tuple(ranges.items())].append(account_id)
        rows = {keys: self._read(dict.fromkeys(ids), dict(keys)) for keys, ids in accounts_by_ranges.items()}
        return [
            partial(_to_documents, account_id, ranges, rows[tuple(ranges.items())][account_id])
            for account_id, ranges in requests
        ]

    def _read(self, account_ids: Iterable[str], ranges: Mapping[Period, KeyRange]) -> dict[str, list[Any]]:
        """Return the rows of each account."""
        bounds: dict[str, Any] = {"accounts": list(account_ids)}
        for period, (first_key, end_key) in ranges.items():
            bounds |= {f"first_{period.value}": first_key, f"end_{period.value}": end_key}
        with self._database.read_connection() as connection:
            rows = connection.execute(_union_query(tuple(ranges)), bounds).all()
        rows_by_account: dict[str, list[Any]] = {account_id: [] for account_id in bounds["accounts"]}
        for row in rows:
            rows_by_account[row[1]].append(row)
        return rows_by_account

    def write_together(self, documents: Mapping[Period, Sequence[Document]]) -> ByPeriod:
        """Write documents of any accounts in one transaction and return those not written, by doctype.

        Where one document of an account loses its race, none of this account is written.
        """
        losers: set[str] = set()
        pending = documents
        while lost := self._write_all(pending):
            losers |= lost
            pending = {
                period: [document for document in rows if account_of(document) not in losers]
                for period, rows in documents.items()
            }
        return {
            period: [document for document in rows if account_of(document) in losers]
            for period, rows in documents.items()
        }

    def _write_all(self, documents: Mapping[Period, Sequence[Document]]) -> set[str]:
        """Write all documents, readings before totals, or nothing; return the accounts that lost a race."""
        if not any(documents.values()):
            return set()
        with self._database.transaction() as connection:
            for period in sorted(documents, key=lambda period: period not in _INPUTS):
                if lost := self._stores[period].write_within(connection, documents[period]):
                    connection.rollback()
                    return {account_of(document) for document in lost}
        return set()


def _to_documents(account_id: str, ranges: Iterable[Period], rows: Iterable[Any]) -> ByPeriod:
    """Return the documents in the rows of one account, in key order."""
    documents: dict[str, list[Document]] = {period.value: [] for period in ranges}
    for doctype, _, *row in sorted(rows, key=_BY_KEY):
        documents[doctype].append(to_document(account_id, *row))
    return {period: documents[period.value] for period in ranges}


@lru_cache(maxsize=16)  # SQLAlchemy compiles a statement object once.
def _union_query(periods: tuple[Period, ...]) -> CompoundSelect[Any]:
    """Return the query for several doctypes, whose rows are doctype, account, key, revision and values.

    Its parameters are ``accounts``, and ``first_<doctype>`` and ``end_<doctype>`` of each doctype.
    """
    return union_all(*map(_doctype_query, periods))


def _doctype_query(period: Period) -> Any:
    columns = TABLES[period].c
    doctype = literal(period.value, literal_execute=True).label("doctype")
    return (
        select(doctype, columns.account_id, columns.key, columns.revision, *(columns[name] for name in VALUES))
        .where(columns.account_id.in_(bindparam("accounts", expanding=True)))
        .where(columns.key >= bindparam(f"first_{period.value}"), columns.key < bindparam(f"end_{period.value}"))
    )
