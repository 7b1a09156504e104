"""SQL statements of the measure store, built once for each table, so that SQLAlchemy and the driver can reuse them.

SQLite takes rows.  PostgreSQL takes columns, as arrays: one short statement for any number of rows writes 45 000 rows a
second, where a long VALUES list writes 9 000, because of the driver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

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

MOST_ROWS_A_STATEMENT: Final = 500
EXPECTED: Final = "expected"  # The revision to replace.
_KEYS: Final = ("account_id", "key")

Rows = Sequence[dict[str, Any]]  # By names of columns; ``revision`` is the new one.
Ids = set[str]


def range_query(table: Table) -> Select[Any]:
    """Return the query for key, revision and values of an account's rows in a key range.

    Its parameters are ``account``, ``first_key`` and ``end_key``.
    """
    columns = table.c
    return (
        select(columns.key, columns.revision, *(columns[name] for name in _values(table)))
        .where(columns.account_id == bindparam("account"))
        .where(columns.key >= bindparam("first_key"), columns.key < bindparam("end_key"))
        .order_by(columns.key)
    )


def lookup_query(table: Table) -> Select[Any]:
    """Return the query for account, key, revision and values of the rows in ``keys``, pairs of account and key."""
    columns = table.c
    return select(*(columns[name] for name in (*_KEYS, "revision", *_values(table)))).where(
        tuple_(*(columns[name] for name in _KEYS)).in_(bindparam("keys", expanding=True))
    )


def erase_statement(table: Table) -> Delete:
    """Return the statement that deletes the rows of ``account``."""
    return delete(table).where(table.c.account_id == bindparam("account"))


def build_remover(table: Table) -> Callable[[Connection, Rows], Ids]:
    """Return a function that deletes the rows with the revision ``expected`` and returns their ids."""
    columns = table.c
    statement = (
        delete(table)
        .where(*(columns[name] == bindparam(f"{name}_") for name in _KEYS))
        .where(columns.revision == bindparam(EXPECTED))
    )
    names = (*_KEYS, EXPECTED)

    def remove(connection: Connection, rows: Rows) -> Ids:
        parameters = [(row, _to_parameters({name: row[name] for name in names})) for row in rows]
        removed = [row for row, bound in parameters if connection.execute(statement, bound).rowcount == 1]
        return {f"{row['account_id']}:{row['key']}" for row in removed}

    return remove


def has_rows(connection: Connection, table: Table) -> bool:
    """Return whether the table exists and has a row."""
    exists = inspect(connection).has_table(table.name)
    return exists and connection.execute(select(table.c.key).limit(1)).first() is not None


def execute_in_chunks(statement: Callable[[Connection, Rows], Ids], connection: Connection, rows: Rows) -> Ids:
    """Execute a statement for at most 500 rows at a time and return the ids of the rows that won their race."""
    won: Ids = set()
    for first in range(0, len(rows), MOST_ROWS_A_STATEMENT):
        won |= statement(connection, rows[first : first + MOST_ROWS_A_STATEMENT])
    return won


class SqliteStatements:
    """Writing statements for SQLite: an INSERT of many rows, and an UPDATE for each row."""

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
        return _ids(connection.execute(self._insert, [_to_parameters(row) for row in rows]))

    def replace(self, connection: Connection, rows: Rows) -> Ids:
        replaced = [row for row in rows if connection.execute(self._update, _to_parameters(row)).rowcount == 1]
        return {f"{row['account_id']}:{row['key']}" for row in replaced}


class PostgresStatements:
    """Writing statements for PostgreSQL, with one array for each column."""

    def __init__(self, table: Table) -> None:
        columns, values = table.c, _values(table)
        stored = (*_KEYS, *values, "revision")
        types = {name: columns[name].type for name in stored} | {EXPECTED: Integer()}
        arrays = {name: bindparam(f"{name}_", type_=ARRAY(kind)) for name, kind in types.items()}
        source = func.unnest(*arrays.values()).table_valued(*types).render_derived(name="source")
        self._names = tuple(types)
        self._insert = (
            postgresql.insert(table)
            .from_select(list(stored), select(*(source.c[name] for name in stored)))
            .on_conflict_do_nothing()
            .returning(*(columns[name] for name in _KEYS))
        )
        self._update = (
            update(table)
            .where(*(columns[name] == source.c[name] for name in _KEYS))
            .where(columns.revision == source.c[EXPECTED])
            .values({name: source.c[name] for name in (*values, "revision")})
            .returning(*(columns[name] for name in _KEYS))
        )

    def create(self, connection: Connection, rows: Rows) -> Ids:
        return _ids(connection.execute(self._insert, self._columns(rows)))

    def replace(self, connection: Connection, rows: Rows) -> Ids:
        return _ids(connection.execute(self._update, self._columns(rows)))

    def _columns(self, rows: Rows) -> dict[str, list[Any]]:
        return {f"{name}_": [row[name] for row in rows] for name in self._names}


# Statements that write rows and return the ids of those written; the others lost a race.
WritingStatements = SqliteStatements | PostgresStatements


def writing_statements(table: Table, dialect: str) -> WritingStatements:
    return PostgresStatements(table) if dialect == "postgresql" else SqliteStatements(table)


def _values(table: Table) -> list[str]:
    """Return the names of a row's columns beside its key and revision."""
    return [column.name for column in table.columns if column.name not in (*_KEYS, "revision")]


def _to_parameters(row: dict[str, Any]) -> dict[str, Any]:
    """Rename a row's columns, because a parameter can't have the name of a column that the statement sets."""
    return {name if name == EXPECTED else f"{name}_": value for name, value in row.items()}


def _ids(keys: Iterable[Sequence[str]]) -> Ids:
    return {f"{account_id}:{key}" for account_id, key in keys}
