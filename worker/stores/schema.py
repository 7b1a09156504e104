"""Brings the registry's schema up to this program, once, whoever comes first.

Where it is current already nothing is written and nothing locked: a worker whose database user may not change tables
starts all the same.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import func, select

from worker.errors import OperatorFault
from worker.stores.registry import migrations
from worker.stores.registry.database import Database

_LOCK: Final = 0x52656C6576  # "Relev": PostgreSQL's advisory locks are named by number


def bring_up(database: Database) -> tuple[str | None, str]:
    """Create the tables or bring them up to date; two processes at once take turns.  The steps before and after.

    Raises StoreUnavailable, and OperatorFault where a newer program has been here.
    """
    newest = migrations.newest_step()
    with database.reading() as connection:
        before = migrations.current_step(connection)
    if before == newest:
        return before, newest
    if before is not None and before not in migrations.known_steps():
        raise OperatorFault(
            f"the registry's tables are at step {before}, which a newer Relève has made: update this one, or restore "
            "the backup from before"
        )
    with database.writing() as connection:
        if database.dialect == "postgresql":
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")  # the other may take its time
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        migrations.upgrade(connection)
    return before, newest
