"""SQL statements of the measure store, built once for each table, so that SQLAlchemy and the driver can reuse them.

SQLite takes rows.  PostgreSQL takes columns, as arrays: one short statement for any number of rows writes 45 000 rows a
second, where a long VALUES list writes 9 000, because of the driver.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from sqlalchemy import ARRAY, Connection, Delete, Integer, Select, Table, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

MOST_ROWS_A_STATEMENT: Final = 500
EXPECTED: Final = "expected"  # The revision to replace.
_KEYS: Final = ("account_id", "key")
_KEY_NAMES: Final = (*_KEYS, EXPECTED)

Row = dict[str, Any]  # By names of columns; ``revision`` is the new one.
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


def erase_statement(table: Table) -> Delete:
    """Return the statement that deletes the rows of ``account``."""
    return delete(table).where(table.c.account_id == bindparam("account"))


class SqliteStatements:
    """Writing statements for SQLite: an INSERT of many rows, and an UPDATE or DELETE for each row."""

    def __init__(self, table: Table) -> None:
        columns, values = table.c, _values(table)
        this_revision = (
            *(columns[name] == bindparam(f"{name}_") for name in _KEYS),
            columns.revision == bindparam(EXPECTED),
        )
        self._insert = (
            sqlite.insert(table)
            .values({name: bindparam(f"{name}_") for name in (*_KEYS, *values, "revision")})
            .on_conflict_do_nothing()
            .returning(*(columns[name] for name in _KEYS))
        )
        self._update = (
            update(table).where(*this_revision).values({name: bindparam(f"{name}_") for name in (*values, "revision")})
        )
        self._delete = delete(table).where(*this_revision)

    def create(self, connection: Connection, rows: Sequence[Row]) -> Ids:
        return _ids(connection.execute(self._insert, [_to_parameters(row) for row in rows]))

    def replace(self, connection: Connection, rows: Sequence[Row]) -> Ids:
        return self._execute_each(connection, self._update, rows)

    def remove(self, connection: Connection, rows: Sequence[Row]) -> Ids:
        return self._execute_each(connection, self._delete, rows)

    @staticmethod
    def _execute_each(connection: Connection, statement: Any, rows: Sequence[Row]) -> Ids:
        won = (row for row in rows if connection.execute(statement, _to_parameters(row)).rowcount == 1)
        return _ids((row["account_id"], row["key"]) for row in won)


class PostgresStatements:
    """Writing statements for PostgreSQL, with one array for each column."""

    def __init__(self, table: Table) -> None:
        columns, values = table.c, _values(table)
        stored = (*_KEYS, *values, "revision")
        types = {name: columns[name].type for name in stored} | {EXPECTED: Integer()}
        arrays = {name: bindparam(f"{name}_", type_=ARRAY(kind)) for name, kind in types.items()}
        source = func.unnest(*arrays.values()).table_valued(*types).render_derived(name="source")
        keys = [columns[name] for name in _KEYS]
        self._names = tuple(types)
        self._insert = (
            postgresql.insert(table)
            .from_select(list(stored), select(*(source.c[name] for name in stored)))
            .on_conflict_do_nothing()
            .returning(*keys)
        )
        self._update = (
            update(table)
            .where(*(columns[name] == source.c[name] for name in _KEYS), columns.revision == source.c[EXPECTED])
            .values({name: source.c[name] for name in (*values, "revision")})
            .returning(*keys)
        )
        keys_only = func.unnest(*(arrays[name] for name in _KEY_NAMES))
        doomed = keys_only.table_valued(*_KEY_NAMES).render_derived(name="doomed")
        self._delete = (
            delete(table)
            .where(*(columns[name] == doomed.c[name] for name in _KEYS), columns.revision == doomed.c[EXPECTED])
            .returning(*keys)
        )

    def create(self, connection: Connection, rows: Sequence[Row]) -> Ids:
        return _ids(connection.execute(self._insert, _to_columns(rows, self._names)))

    def replace(self, connection: Connection, rows: Sequence[Row]) -> Ids:
        return _ids(connection.execute(self._update, _to_columns(rows, self._names)))

    def remove(self, connection: Connection, rows: Sequence[Row]) -> Ids:
        return _ids(connection.execute(self._delete, _to_columns(rows, _KEY_NAMES)))


def _to_columns(rows: Sequence[Row], names: Iterable[str]) -> Row:
    """Return an array for each column."""
    return {f"{name}_": [row[name] for row in rows] for name in names}


def _values(table: Table) -> list[str]:
    """Return the names of a row's columns beside its key and revision."""
    return [column.name for column in table.columns if column.name not in (*_KEYS, "revision")]


def _to_parameters(row: Row) -> Row:
    """Rename a row's columns, because a parameter can't have the name of a column that the statement sets."""
    return {name if name == EXPECTED else f"{name}_": value for name, value in row.items()}


def _ids(keys: Iterable[Sequence[str]]) -> Ids:
    return {f"{account_id}:{key}" for account_id, key in keys}
