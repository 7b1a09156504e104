"""Dump and restore of the whole registry for backups, as rows of values that JSON can represent.

Tokens, proofs and answers stay sealed. A dump is a snapshot of the registry, even while other processes write. A
restore inserts all rows or none.

A dump can't contain revocations that came later. So everything in it that gives access is restored as ended: API
tokens, invitations, clients of the proxy with their grants, and sessions. A dump doesn't contain operators, households
with their codes and mail addresses, or campaigns, because these are useless without the session key, which a backup
doesn't contain.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import islice
from typing import Any, Final

from sqlalchemy import Column, Connection, Insert, MetaData, String, Table, case, insert, literal, null, select, update

from worker.domain.consents import EndReason
from worker.stores.database import build_insert, build_upsert
from worker.stores.registry.proxy import end_grants
from worker.stores.registry.tables import (
    ACCESS_KEYS,
    ACCOUNTS,
    API_TOKENS,
    AUDIT_LOG,
    CAMPAIGN_RECIPIENTS,
    CAMPAIGNS,
    HOUSEHOLD_ACCOUNTS,
    HOUSEHOLDS,
    INVITATIONS,
    LEDGER_END,
    MAIL_ADDRESSES,
    METADATA,
    OPERATORS,
    PROXY_CLIENTS,
    PUBLIC_FILES,
)

_OF_WEB: Final = (HOUSEHOLDS, HOUSEHOLD_ACCOUNTS, MAIL_ADDRESSES, OPERATORS, ACCESS_KEYS)
_LEFT_OUT: Final = (*_OF_WEB, CAMPAIGNS, CAMPAIGN_RECIPIENTS, LEDGER_END)
# A table comes before the tables that refer to it.
TABLES: Final = tuple(table.name for table in METADATA.sorted_tables if table not in _LEFT_OUT)
# A new installation may have rows of these before a restore, and gets more after it.
_FILLED_ANYWAY: Final = (AUDIT_LOG, PUBLIC_FILES)
COMPARED_TABLES: Final = tuple(name for name in TABLES if METADATA.tables[name] not in _FILLED_ANYWAY)
_PAGE_SIZE: Final = 500
_SESSIONS_SINCE: Final = datetime(2020, 1, 1, tzinfo=UTC)
Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class EndedRights:
    """How many rights the restore has ended; rights that had ended before the dump are not counted."""

    api_tokens: int = 0
    invitations: int = 0
    proxy_clients: int = 0
    proxy_grants: int = 0


def read_rows(connection: Connection, table_name: str, metadata: MetaData = METADATA) -> Iterator[dict[str, Any]]:
    """Yield all rows of a table in the order of their primary key, as values that JSON can represent."""
    table = metadata.tables[table_name]
    query = select(table).order_by(*_byte_order_of_keys(connection, table)).execution_options(yield_per=_PAGE_SIZE)
    for row in connection.execute(query).mappings():
        yield {name: _to_json(value) for name, value in row.items()}


def describe_older_tables(connection: Connection) -> MetaData:
    """Return the tables that a dump contains, in the form in which an older version created them."""
    older = MetaData()
    passed_over = {"alembic_version", *(table.name for table in _LEFT_OUT)}
    older.reflect(connection, only=lambda name, _: name not in passed_over)
    return older


def is_empty(connection: Connection) -> bool:
    """Return whether all tables are empty, except those that a new installation fills before a restore.

    The exceptions are the tables of operators and their access keys, the audit log, copies of published files, and the
    ledger's end.
    """
    passed_over = OPERATORS, ACCESS_KEYS, LEDGER_END, *_FILLED_ANYWAY
    return not any(_has_rows(connection, table) for table in METADATA.tables.values() if table not in passed_over)


def has_accounts(connection: Connection) -> bool:
    """Return whether there is an account, even a removed one."""
    return _has_rows(connection, ACCOUNTS)


def restore_rows(connection: Connection, rows_of_table: Callable[[str], Rows]) -> None:
    """Insert a dump of the same schema into an empty registry, in the caller's transaction.

    Its copies of published files take the place of those that are there; entries of the audit log stay.
    ``rows_of_table`` returns the rows of the table with the given name.
    """
    for name in TABLES:
        _insert(connection, METADATA.tables[name], rows_of_table(name))


def end_rights(connection: Connection, now: datetime) -> EndedRights:
    """End all API tokens, invitations, clients of the proxy, grants and sessions of a registry that was just restored.

    The sessions end because each account gets a session number that no cookie can contain: the seconds since 2020,
    which fit into 32 bits until 2088. All other changes of the number only add one, so the seconds are higher than any
    number in use. ``now`` is the real time.
    """
    number = int((now - _SESSIONS_SINCE).total_seconds())
    higher = case((ACCOUNTS.c.session_number < number, number), else_=ACCOUNTS.c.session_number + 1)
    connection.execute(update(ACCOUNTS).values(session_number=higher))
    tokens = update(API_TOKENS).where(API_TOKENS.c.revoked_at.is_(None)).values(revoked_at=now)
    unfinished = INVITATIONS.c.revoked_at.is_(None), INVITATIONS.c.used_at.is_(None)
    invitations = update(INVITATIONS).where(*unfinished).values(revoked_at=now, sealed_usage_point=null())
    clients = update(PROXY_CLIENTS).where(PROXY_CLIENTS.c.revoked_at.is_(None)).values(revoked_at=now)
    return EndedRights(
        api_tokens=connection.execute(tokens).rowcount,
        invitations=connection.execute(invitations).rowcount,
        proxy_clients=connection.execute(clients).rowcount,
        proxy_grants=end_grants(connection, EndReason.RESTORED, now),
    )


def _has_rows(connection: Connection, table: Table) -> bool:
    return connection.execute(select(literal(1)).select_from(table).limit(1)).first() is not None


def _insert(connection: Connection, table: Table, rows: Rows) -> None:
    columns = {column.name: column for column in table.columns}
    values = ({name: _from_json(columns[name], value) for name, value in row.items()} for row in rows)
    statement: Insert = insert(table)
    if table is AUDIT_LOG:  # If a backup is restored in the installation that made it, its earlier entries still exist.
        statement = build_insert(connection.dialect.name, table).on_conflict_do_nothing()
    if table is PUBLIC_FILES:
        for row in values:
            connection.execute(build_upsert(connection.dialect.name, table, row))
    while page := list(islice(values, _PAGE_SIZE)):
        connection.execute(statement, page)


def _byte_order_of_keys(connection: Connection, table: Table) -> list[Any]:
    """Return the sort keys for an order by bytes, so that a dump's checksum doesn't depend on the server's locale."""
    keys = list(table.primary_key.columns)
    if connection.dialect.name != "postgresql":
        return keys
    return [key.collate("C") if isinstance(key.type, String) else key for key in keys]


def _to_json(value: Any) -> Any:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    # If a table is described by reflection, SQLite returns its times without a zone.
    if isinstance(value, datetime) and value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    return value.isoformat() if isinstance(value, date) else value  # A datetime is also a date.


def _from_json(column: Column[Any], value: Any) -> Any:
    kind = column.type.python_type
    if value is not None and kind is bytes:
        return b64decode(value)
    return kind.fromisoformat(value) if value is not None and kind in (date, datetime) else value
