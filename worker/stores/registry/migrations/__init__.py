"""The registry's schema, brought up by the program itself: no alembic.ini, no command to know.

A new step: ``versions/<number>_<what>.py``, its ``down_revision`` the step before it.  Alembic is loaded only where
there is something to bring up: every process looks, and it takes a tenth of a second.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from worker.stores.registry.tables import METADATA

_FOLDER = Path(__file__).parent
_VERSION = table("alembic_version", column("version_num"))


def upgrade(connection: Connection, step: str = "head") -> None:
    """Bring the schema to ``step``, inside the caller's transaction.  Nothing to do: nothing done."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, step)


def start_over(connection: Connection, step: str) -> None:
    """Make the empty tables anew as they were at ``step``, for rows that come from there."""
    METADATA.drop_all(connection)
    connection.exec_driver_sql("DROP TABLE alembic_version")
    upgrade(connection, step)


def current_step(connection: Connection) -> str | None:
    """The step the schema is at; None for a database never brought up."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar()


def newest_step() -> str:
    """The step that this program needs."""
    return max(known_steps())


def known_steps() -> set[str]:
    """All that this program has heard of."""
    return {file.name.partition("_")[0] for file in _FOLDER.glob("versions/[0-9]*_*.py")}
