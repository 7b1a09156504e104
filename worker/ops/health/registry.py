"""The registry: it answers, and its tables are those of this program."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from sqlalchemy import Connection, func, select

from worker.domain.consent.accounts import AccountState
from worker.ops.health.connections import Visit, missing_sqlite_file
from worker.ops.health.results import Note, fail, ok, warn
from worker.stores.registry import migrations
from worker.stores.registry.tables import ACCOUNTS


def registry(visit: Visit) -> Iterator[Note]:
    """Raises StoreUnavailable and ConfigError."""
    if missing_sqlite_file(visit.settings.registry()):
        yield warn("not made yet: `releve migrate` makes it, or the first command that needs it")
        return
    newest = migrations.newest_step()
    with visit.registry.reading() as connection:
        version, step = sql_version(connection), migrations.current_step(connection)
        if step == newest:
            yield ok(f"{version}, tables at step {step}, {_accounts(connection)}")
            return
    yield _other(step, newest)


def _other(step: str | None, newest: str) -> Note:
    if step is None:
        return fail("it has no tables yet: run `releve migrate`")
    if step in migrations.known_steps():
        return fail(f"its tables are at step {step}, this program needs {newest}: run `releve migrate`")
    return fail(
        f"its tables are at step {step}, which a newer Relève has made; this one knows {newest}: update this one, or "
        "restore the backup from before"
    )


def sql_version(connection: Connection) -> str:
    if connection.dialect.name == "sqlite":
        return f"SQLite {sqlite3.sqlite_version}"
    return f"PostgreSQL {connection.exec_driver_sql('SHOW server_version').scalar()}"


def _accounts(connection: Connection) -> str:
    query = select(ACCOUNTS.c.state, func.count()).group_by(ACCOUNTS.c.state)
    counts = {row[0]: int(row[1]) for row in connection.execute(query)}
    told = [f"{counts[state.value]} {state.value}" for state in AccountState if counts.get(state.value)]
    return ", ".join(told) or "no accounts"
