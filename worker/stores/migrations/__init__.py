"""The registry's schema, brought up by the program itself: no alembic.ini, no command to know.

A new step: ``versions/<number>_<what>.py``, its ``down_revision`` the step before it.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from worker.stores.tables import METADATA

_FOLDER = Path(__file__).parent


def upgrade(connection: Connection) -> None:
    """Bring the schema to the newest step, inside the caller's transaction.  Nothing to do: nothing done."""
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def start_over(connection: Connection, step: str) -> None:
    """Make the empty tables anew as they were at ``step``, for rows that come from there."""
    METADATA.drop_all(connection)
    connection.exec_driver_sql("DROP TABLE alembic_version")
    config = _config()
    config.attributes["connection"] = connection
    command.upgrade(config, step)


def current_step(connection: Connection) -> str | None:
    """The step the schema is at; None for a database never brought up."""
    return MigrationContext.configure(connection).get_current_revision()


def newest_step() -> str:
    """The step that this program needs."""
    return str(ScriptDirectory.from_config(_config()).get_current_head())


def known_steps() -> set[str]:
    """All that this program has heard of."""
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    return config
