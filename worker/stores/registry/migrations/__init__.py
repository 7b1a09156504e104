"""The migrations of the registry's schema, run by the program itself with Alembic and without an alembic.ini.

A new step is a file ``versions/<number>_<name>.py`` whose ``down_revision`` is the step before it. Every process checks
the step when it starts. Importing Alembic takes a tenth of a second, so it is imported only for an upgrade.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from worker.stores.registry.tables import METADATA

_FOLDER = Path(__file__).parent
_VERSION = table("alembic_version", column("version_num"))


def upgrade(connection: Connection) -> None:
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
