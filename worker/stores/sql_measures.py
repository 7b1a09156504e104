"""The doctypes of one SQL database, those of a series read by one statement and written in one transaction.

A night's window asks for readings and their totals each time.  One statement sees one moment, which is more than the
order of several would promise (A5), and one commit waits for the disk once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import CompoundSelect, bindparam, literal, select, union_all

from worker.domain.readings import Period
from worker.stores.consumption import Document, KeyRange
from worker.stores.sql import SqlStore, to_document
from worker.stores.sql_database import SqlDatabase
from worker.stores.sql_tables import TABLES, VALUES

_INPUTS: Final = frozenset({Period.MINUTE, Period.DAY})
_BY_KEY: Final = itemgetter(1)


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

    def read_together(self, account_id: str, ranges: Mapping[Period, KeyRange]) -> dict[Period, list[Document]]:
        """As ``read`` of each doctype; one statement."""
        bounds = {"account": account_id}
        for period, (first_key, end_key) in ranges.items():
            bounds |= {f"first_{period.value}": first_key, f"end_{period.value}": end_key}
        with self._database.reading() as connection:
            rows = connection.execute(_reading(tuple(ranges)), bounds).all()
        found: defaultdict[str, list[Any]] = defaultdict(list)
        for row in rows:
            found[row[0]].append(row)
        return {
            period: [to_document(account_id, *row[1:]) for row in sorted(found[period.value], key=_BY_KEY)]
            for period in ranges
        }

    def write_together(self, documents: Mapping[Period, Sequence[Document]]) -> dict[Period, list[Document]]:
        """Readings before totals in one transaction; where one loses its race nothing is written, and all are lost."""
        inputs_first = sorted(documents, key=lambda period: period not in _INPUTS)
        with self._database.transaction() as connection:
            for period in inputs_first:
                if self._stores[period].write_within(connection, documents[period]):
                    connection.rollback()
                    return {each: list(given) for each, given in documents.items()}
        return {period: [] for period in documents}


@lru_cache(maxsize=16)  # SQLAlchemy then knows it again
def _reading(periods: tuple[Period, ...]) -> CompoundSelect[Any]:
    """Takes ``account``, and ``first_<doctype>`` and ``end_<doctype>`` of each; doctype, key, revision, values."""
    return union_all(*map(_rows_of, periods))


def _rows_of(period: Period) -> Any:
    columns = TABLES[period].c
    named = literal(period.value, literal_execute=True).label("doctype")
    return (
        select(named, columns.key, columns.revision, *(columns[name] for name in VALUES))
        .where(columns.account_id == bindparam("account"))
        .where(columns.key >= bindparam(f"first_{period.value}"), columns.key < bindparam(f"end_{period.value}"))
    )
