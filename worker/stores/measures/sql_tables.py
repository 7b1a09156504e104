"""The tables of the SQL measure store: one a doctype, a row a document, made by the program itself."""

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
PACK_METADATA: Final = MetaData()  # apart: who keeps one layout makes no table of the other
# Keys sort by their bytes, as in CouchDB; PostgreSQL would sort them by the rules of some language.
_BYTES: Final = String().with_variant(String(collation="C"), "postgresql")
_TABLES_LOCK: Final = 7_238_163  # any number of our own

REQUIRED: Final = ("load", "year", "month", "day", "hour", "minute")
OPTIONAL: Final = ("fold", "step", "created_at", "updated_at")  # absent in the document where NULL here
VALUES: Final = (*REQUIRED, *OPTIONAL)


def _table(period: Period) -> Table:
    return Table(
        f"measure_{period.value}",
        METADATA,
        Column("account_id", _BYTES, primary_key=True),
        Column("key", _BYTES, primary_key=True),
        Column("load", Double, nullable=False),  # eight bytes: gives six decimals of a kWh back as they came
        *(Column(name, SmallInteger, nullable=False) for name in REQUIRED[1:]),
        Column("fold", SmallInteger),
        Column("step", SmallInteger),
        Column("created_at", String),  # ISO text, as given
        Column("updated_at", String),
        Column("revision", Integer, nullable=False),
        sqlite_with_rowid=False,  # rows lie in key order: a range is read in one piece, keys are kept once
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
    """Make the tables that are not there yet; safe when several processes do so at once."""
    with _alone(engine) as connection:
        for table in metadata.sorted_tables:
            connection.execute(CreateTable(table, if_not_exists=True))


def create_table(engine: Engine, table: Table) -> bool:
    """Make one table; whether it was not there yet."""
    with _alone(engine) as connection:
        missing = not inspect(connection).has_table(table.name)
        connection.execute(CreateTable(table, if_not_exists=True))
    return missing


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # IF NOT EXISTS alone fails when two do so at once
            connection.execute(select(func.pg_advisory_xact_lock(_TABLES_LOCK)))
        yield connection
