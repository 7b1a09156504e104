"""The tables of the SQL measure store: one for each doctype, with a row for each document."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Connection, Double, Integer, MetaData, SmallInteger, String, Table, func, inspect, select
from sqlalchemy.schema import CreateTable

from worker.domain.measures.documents import doctype
from worker.domain.measures.readings import Period

METADATA: Final = MetaData()
# Keys sort by their bytes, as in CouchDB; PostgreSQL would sort them by the rules of a language.
_BYTES: Final = String().with_variant(String(collation="C"), "postgresql")
_TABLES_LOCK: Final = 7_238_163  # The number is arbitrary.

_REQUIRED: Final = ("load", "year", "month", "day", "hour", "minute")
_OPTIONAL: Final = ("fold", "step", "created_at", "updated_at")  # NULL where the document has no such field.
VALUES: Final = (*_REQUIRED, *_OPTIONAL)


def _table(period: Period) -> Table:
    return Table(
        f"measure_{period.value}",
        METADATA,
        Column("account_id", _BYTES, primary_key=True),
        Column("key", _BYTES, primary_key=True),
        Column("load", Double, nullable=False),  # Eight bytes return six decimals of a kWh unchanged.
        *(Column(name, SmallInteger, nullable=False) for name in _REQUIRED[1:]),
        Column("fold", SmallInteger),
        Column("step", SmallInteger),
        Column("created_at", String),  # ISO 8601 text, as in the document.
        Column("updated_at", String),
        Column("revision", Integer, nullable=False),
        sqlite_with_rowid=False,  # Rows are stored in key order, so a range is contiguous and keys are stored once.
    )


TABLES: Final = {period: _table(period) for period in Period}


def create_tables(connection: Connection) -> dict[str, bool]:
    """Create the missing tables, and return by doctype whether it was missing; safe in several processes at once."""
    if connection.dialect.name == "postgresql":  # IF NOT EXISTS alone fails when two processes do so at once.
        connection.execute(select(func.pg_advisory_xact_lock(_TABLES_LOCK)))
    existing = inspect(connection).get_table_names()
    for table in TABLES.values():
        connection.execute(CreateTable(table, if_not_exists=True))
    return {doctype(period): table.name not in existing for period, table in TABLES.items()}
