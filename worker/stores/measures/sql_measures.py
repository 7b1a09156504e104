"""The doctypes of one SQL database, those of a series read by one statement and written in one transaction.

A night's window asks for readings and their totals each time.  One statement sees one moment, which is more than the
order of several would promise (A5), and one commit waits for the disk once.
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
from worker.stores.measures.base import ByPeriod, Document, KeyRange, LazyDocuments, Wanted
from worker.stores.measures.sql import SqlStore, to_document
from worker.stores.measures.sql_database import SqlDatabase
from worker.stores.measures.sql_tables import TABLES, VALUES

_INPUTS: Final = frozenset({Period.MINUTE, Period.DAY})
_BY_KEY: Final = itemgetter(2)


class SqlMeasures(Mapping[Period, SqlStore]):
    """Five stores over one ``database``.  Errors as of ConsumptionStore."""

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
        """As ``read`` of each doctype; one statement."""
        return self.read_at_once([(account_id, ranges)])[0]()

    def read_at_once(self, wanted: Sequence[Wanted]) -> list[LazyDocuments]:
        """As ``read_together`` of each; one statement for all that ask for the same keys."""
        asking: defaultdict[tuple[tuple[Period, KeyRange], ...], list[str]] = defaultdict(list)
        for account_id, ranges in wanted:
            asking[tuple(ranges.items())].append(account_id)
        found = {keys: self._read(dict.fromkeys(accounts), dict(keys)) for keys, accounts in asking.items()}
        return [
            partial(_to_documents, account_id, ranges, found[tuple(ranges.items())][account_id])
            for account_id, ranges in wanted
        ]

    def _read(self, account_ids: Iterable[str], ranges: Mapping[Period, KeyRange]) -> dict[str, list[Any]]:
        """The rows of each account."""
        bounds: dict[str, Any] = {"accounts": list(account_ids)}
        for period, (first_key, end_key) in ranges.items():
            bounds |= {f"first_{period.value}": first_key, f"end_{period.value}": end_key}
        with self._database.reading() as connection:
            rows = connection.execute(_reading(tuple(ranges)), bounds).all()
        found: dict[str, list[Any]] = {account_id: [] for account_id in bounds["accounts"]}
        for row in rows:
            found[row[1]].append(row)
        return found

    def write_together(self, documents: Mapping[Period, Sequence[Document]]) -> ByPeriod:
        """In one transaction; of an account of which one loses its race nothing is written, and all are lost."""
        losers: set[str] = set()
        left = documents
        while beaten := self._beaten(left):
            losers |= beaten
            left = {
                period: [each for each in some if account_of(each) not in losers] for period, some in documents.items()
            }
        return {period: [each for each in some if account_of(each) in losers] for period, some in documents.items()}

    def _beaten(self, documents: Mapping[Period, Sequence[Document]]) -> set[str]:
        """Write readings before totals; the accounts for whose sake nothing was written, if any."""
        if not any(documents.values()):
            return set()
        with self._database.transaction() as connection:
            for period in sorted(documents, key=lambda period: period not in _INPUTS):
                if lost := self._stores[period].write_within(connection, documents[period]):
                    connection.rollback()
                    return {account_of(each) for each in lost}
        return set()


def _to_documents(account_id: str, ranges: Iterable[Period], rows: Iterable[Any]) -> ByPeriod:
    """In key order."""
    found: dict[str, list[Document]] = {period.value: [] for period in ranges}
    for doctype, _, *row in sorted(rows, key=_BY_KEY):
        found[doctype].append(to_document(account_id, *row))
    return {period: found[period.value] for period in ranges}


@lru_cache(maxsize=16)  # SQLAlchemy then knows it again
def _reading(periods: tuple[Period, ...]) -> CompoundSelect[Any]:
    """Takes ``accounts``, and ``first_<doctype>`` and ``end_<doctype>`` of each.

    Gives doctype, account, key, revision and values.
    """
    return union_all(*map(_rows_of, periods))


def _rows_of(period: Period) -> Any:
    columns = TABLES[period].c
    named = literal(period.value, literal_execute=True).label("doctype")
    return (
        select(named, columns.account_id, columns.key, columns.revision, *(columns[name] for name in VALUES))
        .where(columns.account_id.in_(bindparam("accounts", expanding=True)))
        .where(columns.key >= bindparam(f"first_{period.value}"), columns.key < bindparam(f"end_{period.value}"))
    )
