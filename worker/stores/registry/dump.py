"""The whole registry as plain rows, and back: every table there is, tokens and proofs sealed as they stand.

What is read is one moment of it, whoever writes meanwhile; what is filled in is all there or not at all.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime
from itertools import islice
from typing import Any, Final

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, literal, select

from worker.stores.registry import migrations
from worker.stores.registry.database import Database
from worker.stores.registry.tables import METADATA

TABLES: Final = tuple(table.name for table in METADATA.sorted_tables)  # whom others refer to goes first
_AT_ONCE: Final = 500

Rows = Iterable[Mapping[str, Any]]


@contextmanager
def snapshot(database: Database) -> Iterator[Connection]:
    """A connection that sees one moment.  Raises StoreUnavailable."""
    with database.transaction() as connection:
        if database.dialect == "postgresql":  # SQLite's readers see one moment anyway
            connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
        yield connection


def rows_of(connection: Connection, table_name: str) -> Iterator[dict[str, Any]]:
    """All rows in the order of their key, JSON-able, a few at a time."""
    table = METADATA.tables[table_name]
    query = select(table).order_by(*_in_order_of_bytes(connection, table)).execution_options(yield_per=_AT_ONCE)
    for row in connection.execute(query).mappings():
        yield {name: _to_json(value) for name, value in row.items()}


def is_empty(connection: Connection) -> bool:
    """Whether no table holds a row."""
    tables = METADATA.tables.values()
    return not any(connection.execute(select(literal(1)).select_from(table).limit(1)).first() for table in tables)


def fill(connection: Connection, step: str, rows_of_table: Callable[[str], Rows]) -> None:
    """Fill an empty registry with rows of the schema's ``step``, then bring it up to this program's.

    Inside the caller's transaction: it ends with all of them or with none.
    """
    if step != migrations.newest_step():
        migrations.start_over(connection, step)
    there = MetaData()
    there.reflect(connection)
    for table in there.sorted_tables:
        if table.name in TABLES:
            _insert(connection, table, rows_of_table(table.name))
    migrations.upgrade(connection)


def _insert(connection: Connection, table: Table, rows: Rows) -> None:
    columns = {column.name: column for column in table.columns}
    values = ({name: _from_json(columns[name], value) for name, value in row.items()} for row in rows)
    while page := list(islice(values, _AT_ONCE)):
        connection.execute(insert(table), page)


def _in_order_of_bytes(connection: Connection, table: Table) -> list[Any]:
    """The same order on every server, so that the same rows give the same sum."""
    keys = list(table.primary_key.columns)
    if connection.dialect.name != "postgresql":
        return keys
    return [key.collate("C") if isinstance(key.type, String) else key for key in keys]


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return value.isoformat() if isinstance(value, date) else value  # a datetime is a date


def _from_json(column: Column[Any], value: Any) -> Any:
    kind = column.type.python_type
    if value is not None and kind is bytes:
        return b64decode(value)
    return kind.fromisoformat(value) if value is not None and kind in (date, datetime) else value
