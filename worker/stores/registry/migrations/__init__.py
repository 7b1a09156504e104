"""The migrations of the registry's schema, run by the program itself with Alembic and without an alembic.ini.

A new step is a file ``versions/<number>_<name>.py`` whose ``down_revision`` is the step before it. Every process checks
the step when it starts. Importing Alembic takes a tenth of a second, so it is imported only for an upgrade.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, column, func, inspect, select, table

from worker.errors import OperatorFault
from worker.stores.database import Database
from worker.stores.registry.tables import METADATA

_FOLDER = Path(__file__).parent
_VERSION = table("alembic_version", column("version_num"))
# The first five bytes of "Releve": PostgreSQL's advisory locks are named by a number.
_LOCK: Final = 0x52656C6576


def upgrade_schema(database: Database) -> tuple[str | None, str]:
    """Create or upgrade the tables, and return the migration step before and after.

    Processes that do this at the same time take turns. Raises StoreUnavailable, and OperatorFault if a newer version
    of the program has upgraded the tables.
    """
    newest = newest_step()
    # Every process comes here when it starts, so it first looks without a lock.
    with database.reading() as connection:
        before = current_step(connection)
    if before == newest:
        return before, newest
    if before is not None and before not in known_steps():
        raise OperatorFault(
            f"the registry's tables are at step {before}, which a newer Relève has made: update this one, or restore "
            "the backup from before"
        )
    with database.writing() as connection:
        if database.dialect == "postgresql":
            # The lock may be held by a process whose upgrade takes long.
            connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
        _upgrade(connection)
    return before, newest


def _upgrade(connection: Connection) -> None:
    """Create the newest tables in an empty database, or upgrade older ones, inside the caller's transaction.

    As Alembic's page "Building an Up to Date Database from Scratch" says, a new database takes no steps.
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    if current_step(connection) is None:
        METADATA.create_all(connection)
        command.stamp(config, "head")
    else:
        command.upgrade(config, "head")


def current_step(connection: Connection) -> str | None:
    """Return the step of the database's schema; None for an empty database."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar()


def newest_step() -> str:
    """Return the newest step, which this program needs."""
    return max(known_steps())


def known_steps() -> set[str]:
    """Return all steps of this program, for example {"0001", "0002"}."""
    return {file.name.partition("_")[0] for file in _FOLDER.glob("versions/[0-9]*_*.py")}
