"""The tables of the SQL measure store: one for each doctype, with a row for each document."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from sqlalchemy import (
    Column,
    Connection,
    Double,
    Engine,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    func,
    inspect,
    select,
)
from sqlalchemy.schema import CreateTable

from worker.domain.measures.readings import Period, Series

METADATA: Final = MetaData()
PACK_METADATA: Final = MetaData()  # Apart, so that a system with one layout creates no tables of the other.
# Keys sort by their bytes, as in CouchDB; PostgreSQL would sort them by the rules of a language.
_BYTES: Final = String().with_variant(String(collation="C"), "postgresql")
_TABLES_LOCK: Final = 7_238_163  # The number is arbitrary.

REQUIRED: Final = ("load", "year", "month", "day", "hour", "minute")
OPTIONAL: Final = ("fold", "step", "created_at", "updated_at")  # NULL where the document has no such field.
VALUES: Final = (*REQUIRED, *OPTIONAL)


def _table(period: Period) -> Table:
    return Table(
        f"measure_{period.value}",
        METADATA,
        Column("account_id", _BYTES, primary_key=True),
        Column("key", _BYTES, primary_key=True),
        Column("load", Double, nullable=False),  # Eight bytes return six decimals of a kWh unchanged.
        *(Column(name, SmallInteger, nullable=False) for name in REQUIRED[1:]),
        Column("fold", SmallInteger),
        Column("step", SmallInteger),
        Column("created_at", String),  # ISO 8601 text, as in the document.
        Column("updated_at", String),
        Column("revision", Integer, nullable=False),
        sqlite_with_rowid=False,  # Rows are stored in key order, so a range is contiguous and keys are stored once.
    )


def _pack_table(series: Series) -> Table:
    return Table(
        f"packed_{series.value}",
        PACK_METADATA,
        Column("account_id", _BYTES, primary_key=True),
        Column("key", _BYTES, primary_key=True),
        Column("body", Text, nullable=False),  # JSON: docs/reference/documents.md
        Column("revision", Integer, nullable=False),
        sqlite_with_rowid=False,
    )


TABLES: Final = {period: _table(period) for period in Period}
PACK_TABLES: Final = {series: _pack_table(series) for series in Series}


def create_tables(engine: Engine, metadata: MetaData) -> None:
    """Create the missing tables; safe when several processes do so at once."""
    with _locked_transaction(engine) as connection:
        for table in metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))


def create_table(engine: Engine, table: Table) -> bool:
    """Create one table and return whether it was missing."""
    with _locked_transaction(engine) as connection:
        missing = not inspect(connection).has_table(table.name)
        connection.execute(CreateTable(table, if_not_exists=True))
    return missing


@contextmanager
def _locked_transaction(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # IF NOT EXISTS alone fails when two processes do so at once.
            connection.execute(select(func.pg_advisory_xact_lock(_TABLES_LOCK)))
        yield connection
