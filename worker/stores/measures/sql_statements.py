"""The statements of the SQL measure store, each built once a table so that SQLAlchemy and the driver know it again.

SQLite takes rows as they are.  PostgreSQL is given columns, as arrays: one short statement whatever the number of
rows, where a long list of VALUES costs the driver more time than the server (9 000 rows a second against 45 000).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

from sqlalchemy import (
    ARRAY,
    Connection,
    Delete,
    Integer,
    Select,
    Table,
    bindparam,
    delete,
    func,
    inspect,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

MOST_ROWS_A_STATEMENT: Final = 500  # W1
EXPECTED: Final = "expected"  # the revision to replace
_KEYS: Final = ("account_id", "key")

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
        select(columns.key, columns.revision, *(columns[name] for name in _values(table)))
        .where(columns.account_id == bindparam("account"))
        .where(columns.key >= bindparam("first_key"), columns.key < bindparam("end_key"))
        .order_by(columns.key)
    )


def looking_up(table: Table) -> Select[Any]:
    """Takes ``keys``, pairs of account and key; account, key, revision and values of each row."""
    columns = table.c
    return select(*(columns[name] for name in (*_KEYS, "revision", *_values(table)))).where(
        tuple_(*(columns[name] for name in _KEYS)).in_(bindparam("keys", expanding=True))
    )


def erasing(table: Table) -> Delete:
    """Takes ``account``."""
    return delete(table).where(table.c.account_id == bindparam("account"))


def removing(table: Table) -> Callable[[Connection, Rows], Ids]:
    """Takes rows with ``expected``; removes those that have this revision and gives their ids."""
    columns = table.c
    statement = (
        delete(table)
        .where(*(columns[name] == bindparam(f"{name}_") for name in _KEYS))
        .where(columns.revision == bindparam(EXPECTED))
    )
    names = (*_KEYS, EXPECTED)

    def remove(connection: Connection, rows: Rows) -> Ids:
        told = [(row, _renamed({name: row[name] for name in names})) for row in rows]
        done = [row for row, bound in told if connection.execute(statement, bound).rowcount == 1]
        return {f"{row['account_id']}:{row['key']}" for row in done}

    return remove


def is_any(connection: Connection, table: Table) -> bool:
    """Whether there is such a table, and a row in it."""
    there = inspect(connection).has_table(table.name)
    return there and connection.execute(select(table.c.key).limit(1)).first() is not None


def in_pieces(statement: Callable[[Connection, Rows], Ids], connection: Connection, rows: Rows) -> Ids:
    won: Ids = set()
    for first in range(0, len(rows), MOST_ROWS_A_STATEMENT):
        won |= statement(connection, rows[first : first + MOST_ROWS_A_STATEMENT])
    return won


def writing(table: Table, dialect: str) -> WritingStatements:
    return InColumns(table) if dialect == "postgresql" else InRows(table)


class InRows:
    """For SQLite: rows of an INSERT, an UPDATE for each row."""

    def __init__(self, table: Table) -> None:
        columns, values = table.c, _values(table)
        self._insert = (
            sqlite.insert(table)
            .values({name: bindparam(f"{name}_") for name in (*_KEYS, *values, "revision")})
            .on_conflict_do_nothing()
            .returning(*(columns[name] for name in _KEYS))
        )
        self._update = (
            update(table)
            .where(*(columns[name] == bindparam(f"{name}_") for name in _KEYS))
            .where(columns.revision == bindparam(EXPECTED))
            .values({name: bindparam(f"{name}_") for name in (*values, "revision")})
        )

    def create(self, connection: Connection, rows: Rows) -> Ids:
        return _ids(connection.execute(self._insert, [_renamed(row) for row in rows]))

    def replace(self, connection: Connection, rows: Rows) -> Ids:
        done = [row for row in rows if connection.execute(self._update, _renamed(row)).rowcount == 1]
        return {f"{row['account_id']}:{row['key']}" for row in done}


class InColumns:
    """For PostgreSQL: one statement that takes an array a column."""

    def __init__(self, table: Table) -> None:
        columns, values = table.c, _values(table)
        stored = (*_KEYS, *values, "revision")
        types = {name: columns[name].type for name in stored} | {EXPECTED: Integer()}
        arrays = {name: bindparam(f"{name}_", type_=ARRAY(kind)) for name, kind in types.items()}
        given = func.unnest(*arrays.values()).table_valued(*types).render_derived(name="given")
        self._names = tuple(types)
        self._insert = (
            postgresql.insert(table)
            .from_select(list(stored), select(*(given.c[name] for name in stored)))
            .on_conflict_do_nothing()
            .returning(*(columns[name] for name in _KEYS))
        )
        self._update = (
            update(table)
            .where(*(columns[name] == given.c[name] for name in _KEYS))
            .where(columns.revision == given.c[EXPECTED])
            .values({name: given.c[name] for name in (*values, "revision")})
            .returning(*(columns[name] for name in _KEYS))
        )

    def create(self, connection: Connection, rows: Rows) -> Ids:
        return _ids(connection.execute(self._insert, self._columns(rows)))

    def replace(self, connection: Connection, rows: Rows) -> Ids:
        return _ids(connection.execute(self._update, self._columns(rows)))

    def _columns(self, rows: Rows) -> dict[str, list[Any]]:
        return {f"{name}_": [row[name] for row in rows] for name in self._names}


def _values(table: Table) -> list[str]:
    """What a row holds beside its key and revision."""
    return [column.name for column in table.columns if column.name not in (*_KEYS, "revision")]


def _renamed(row: dict[str, Any]) -> dict[str, Any]:
    """A parameter may not have the name of a column that the statement sets."""
    return {name if name == EXPECTED else f"{name}_": value for name, value in row.items()}


def _ids(keys: Iterable[Sequence[str]]) -> Ids:
    return {f"{account_id}:{key}" for account_id, key in keys}
