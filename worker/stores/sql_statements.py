"""The statements of the SQL measure store, each built once a table so that SQLAlchemy and the driver know it again.

SQLite takes rows as they are.  PostgreSQL is given columns, as arrays: one short statement whatever the number of
rows, where a long list of VALUES costs the driver more time than the server (9 000 rows a second against 45 000).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import ARRAY, Connection, Delete, Integer, Select, Table, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from worker.stores.sql_tables import OPTIONAL, REQUIRED

VALUES: Final = (*REQUIRED, *OPTIONAL)
EXPECTED: Final = "expected"  # the revision to replace
_KEYS: Final = ("account_id", "key")
_STORED: Final = (*_KEYS, *VALUES, "revision")

Rows = Sequence[dict[str, Any]]  # by names of columns; ``revision`` is the one to store
Ids = set[str]


class WritingStatements(Protocol):
    """Both give the ids of the rows that were written; the others lost a race."""

    def create(self, connection: Connection, rows: Rows) -> Ids: ...

    def replace(self, connection: Connection, rows: Rows) -> Ids:
        """Each row holds ``expected`` too."""
        ...


def reading(table: Table) -> Select[Any]:
    """Takes ``account``, ``first_key`` and ``end_key``; key, revision and values of each row."""
    columns = table.c
    return (
        select(columns.key, columns.revision, *(columns[name] for name in VALUES))
        .where(columns.account_id == bindparam("account"))
        .where(columns.key >= bindparam("first_key"), columns.key < bindparam("end_key"))
        .order_by(columns.key)
    )


def erasing(table: Table) -> Delete:
    """Takes ``account``."""
    return delete(table).where(table.c.account_id == bindparam("account"))


def writing(table: Table, dialect: str) -> WritingStatements:
    return InColumns(table) if dialect == "postgresql" else InRows(table)


class InRows:
    """For SQLite: rows of an INSERT, an UPDATE for each row."""

    def __init__(self, table: Table) -> None:
        columns = table.c
        self._insert = (
            sqlite.insert(table)
            .values({name: bindparam(f"{name}_") for name in _STORED})
            .on_conflict_do_nothing()
            .returning(*(columns[name] for name in _KEYS))
        )
        self._update = (
            update(table)
            .where(*(columns[name] == bindparam(f"{name}_") for name in _KEYS))
            .where(columns.revision == bindparam(EXPECTED))
            .values({name: bindparam(f"{name}_") for name in (*VALUES, "revision")})
        )

    def create(self, connection: Connection, rows: Rows) -> Ids:
        return _ids(connection.execute(self._insert, [_renamed(row) for row in rows]))

    def replace(self, connection: Connection, rows: Rows) -> Ids:
        done = [row for row in rows if connection.execute(self._update, _renamed(row)).rowcount == 1]
        return {f"{row['account_id']}:{row['key']}" for row in done}


class InColumns:
    """For PostgreSQL: one statement that takes an array a column."""

    def __init__(self, table: Table) -> None:
        columns = table.c
        types = {name: columns[name].type for name in _STORED} | {EXPECTED: Integer()}
        arrays = {name: bindparam(f"{name}_", type_=ARRAY(kind)) for name, kind in types.items()}
        given = func.unnest(*arrays.values()).table_valued(*types).render_derived(name="given")
        self._names = tuple(types)
        self._insert = (
            postgresql.insert(table)
            .from_select(list(_STORED), select(*(given.c[name] for name in _STORED)))
            .on_conflict_do_nothing()
            .returning(*(columns[name] for name in _KEYS))
        )
        self._update = (
            update(table)
            .where(*(columns[name] == given.c[name] for name in _KEYS))
            .where(columns.revision == given.c[EXPECTED])
            .values({name: given.c[name] for name in (*VALUES, "revision")})
            .returning(*(columns[name] for name in _KEYS))
        )

    def create(self, connection: Connection, rows: Rows) -> Ids:
        return _ids(connection.execute(self._insert, self._columns(rows)))

    def replace(self, connection: Connection, rows: Rows) -> Ids:
        return _ids(connection.execute(self._update, self._columns(rows)))

    def _columns(self, rows: Rows) -> dict[str, list[Any]]:
        return {f"{name}_": [row[name] for row in rows] for name in self._names}


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """A parameter may not have the name of a column that the statement sets."""
    return {name if name == EXPECTED else f"{name}_": value for name, value in row.items()}


def _ids(keys: Iterable[Sequence[str]]) -> Ids:
    return {f"{account_id}:{key}" for account_id, key in keys}
