"""The migrations of the registry's schema, which this program runs with Alembic, without an alembic.ini.

A new step is a file ``versions/<number>_<name>.py`` whose ``down_revision`` is the previous step. Workers of the
previous version may keep running during a step, so each step declares its phase, and a test checks that the step only
does what this phase allows:

1. ``expand`` adds tables, indexes, and columns that may be NULL or have a server default.
2. ``fill`` writes rows.
3. ``tighten`` removes or forbids what workers of the previous version no longer use: a column is dropped one release
   after its last use, and a renaming takes three releases.

Each step runs in its own transaction, so that no table stays locked while a later step fills rows. Importing Alembic
takes a tenth of a second, so it is imported only for an upgrade.

The workers' PostgreSQL role may read and write the registry's rows, but not change its tables. `releve migrate`,
connected as the owner of the tables, sets up this role with ``set_up_role`` and ``grant_rows``, which are safe to
repeat and return what they did.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, column, func, inspect, select, table, text
from sqlalchemy.engine import make_url

from worker.errors import OperatorFault, StoreUnavailable
from worker.stores.database import Database
from worker.stores.registry.tables import AUDIT_LOG, METADATA

_FOLDER = Path(__file__).parent
_VERSION = table("alembic_version", column("version_num"))
# "Relev" in ASCII. PostgreSQL identifies advisory locks by numbers.
_LOCK: Final = 0x52656C6576
# While a step waits for the lock on a table, all other statements on the table wait behind it, so the step gives up
# before a worker's call does.
_LOCK_TIMEOUT: Final = "5s"
_RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_APPEND_ONLY: Final = (AUDIT_LOG.name,)
_STEPS_TABLE: Final = "alembic_version"  # Each worker reads the schema's step from this table when it starts.
_ROLE_EXISTS: Final = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
_HAS_RIGHT: Final = text("SELECT has_table_privilege(:role, quote_ident(:table), :right)")


class MigrationPhase(StrEnum):
    """The kind of changes that a step makes while workers of the previous version still run; see the module's text."""

    EXPAND = "expand"
    FILL = "fill"
    TIGHTEN = "tighten"


def require_schema(database: Database) -> None:
    """Create the tables of an empty registry, or check existing tables. Every process calls this when it starts.

    Raises StoreUnavailable. Raises OperatorFault for older tables, because only `releve migrate` changes them, after a
    backup.
    """
    step, newest = find_step(database), newest_step()
    if step is None:
        upgrade_schema(database)
    elif step != newest:
        raise OperatorFault(
            f"the registry's tables are at step {step} and this version needs {newest}: run `releve migrate`, which "
            "makes a backup first"
        )


def upgrade_schema(database: Database) -> tuple[str | None, str]:
    """Create or upgrade the tables; return the migration step before and the step after.

    Processes that do this at the same time take turns. If a step fails, the schema stays at the step before it, and the
    next call continues from there. Raises StoreUnavailable, and OperatorFault like ``find_step``.
    """
    before, newest = find_step(database), newest_step()
    steps = [newest] if before is None else [step for step in sorted(known_steps()) if step > before]
    for step in steps:
        with database.changing_tables() as connection:
            if database.dialect == "postgresql":
                # Statements have no timeout, because another process may hold the lock during a long upgrade.
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
                connection.execute(select(func.pg_advisory_xact_lock(_LOCK)))
                connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'")
            if (current_step(connection) or "") < step:
                _take_step(connection, step)
    return before, newest


def find_step(database: Database) -> str | None:
    """Return the migration step of the registry's tables; None if the registry is empty.

    Raises StoreUnavailable, and OperatorFault for a step from which this version can't upgrade.
    """
    with database.reading() as connection:
        step = current_step(connection)
    if step is not None and (fault := find_step_fault(step)):
        raise OperatorFault(fault)
    return step


def find_step_fault(step: str) -> str:
    """Return why this version can't upgrade from a step; empty if it can."""
    if step in known_steps():
        return ""
    found = f"the registry's tables are at step {step}"
    if step < min(known_steps()):
        return f"{found}, from before the first release: start with an empty registry"
    return (
        f"{found}, from a newer version; this version knows {newest_step()}: update it, or restore the backup made "
        "before"
    )


def _take_step(connection: Connection, step: str) -> None:
    """In an empty database, create the newest tables; otherwise take one step. Both use the caller's transaction.

    An empty database takes no steps; see Alembic's page "Building an Up to Date Database from Scratch".
    """
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    if current_step(connection) is None:
        METADATA.create_all(connection)
        command.stamp(config, step)
    else:
        command.upgrade(config, step)


def current_step(connection: Connection) -> str | None:
    """Return the migration step of the database's schema; None if the database is empty."""
    if not inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(select(_VERSION.c.version_num)).scalar()


def newest_step() -> str:
    """Return the newest migration step, at which this program needs the tables to be."""
    return max(known_steps())


def known_steps() -> set[str]:
    """Return all migration steps of this program, for example {"0007", "0008"}."""
    return {file.name.partition("_")[0] for file in _FOLDER.glob("versions/[0-9]*_*.py")}


def set_up_role(owner: Database, url: str) -> str:
    """Create the role that ``url`` names, or change the role's password to the one in ``url``.

    Returns ``made``, ``changed``, or ``there`` if the role could log in already.
    """
    parsed = make_url(url)
    role, password = parsed.username or "", str(parsed.password or "")
    with owner.writing() as connection:
        if connection.execute(_ROLE_EXISTS, {"role": role}).first() is None:
            _execute_with_password(connection, "CREATE ROLE {} LOGIN PASSWORD {}", role, password)
            return "made"
    if _can_log_in(url):
        return "there"
    with owner.writing() as connection:
        _execute_with_password(connection, "ALTER ROLE {} LOGIN PASSWORD {}", role, password)
    return "changed"


def grant_rows(owner: Database, url: str) -> str:
    """Let the role in ``url`` read and write the rows of every table, but not change the rows of the audit log.

    Returns ``made``, or ``there`` if no right was missing.
    """
    from psycopg import sql  # Imported late: every process loads this module, and most have no PostgreSQL.

    role = make_url(url).username or ""
    tables = [table.name for table in METADATA.sorted_tables]
    rights = [(name, right) for name in tables for right in _RIGHTS if right != "UPDATE" or name not in _APPEND_ONLY]
    rights.append((_STEPS_TABLE, "SELECT"))
    with owner.writing() as connection:
        missing = [
            (table, right)
            for table, right in rights
            if not connection.execute(_HAS_RIGHT, {"role": role, "table": table, "right": right}).scalar_one()
        ]
        for table, right in missing:
            grant = sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(right), sql.Identifier(table), sql.Identifier(role))
            connection.exec_driver_sql(grant.as_string())
    return "made" if missing else "there"


def _execute_with_password(connection: Connection, statement: str, role: str, password: str) -> None:
    """Execute a statement that sets a role's password. The statement contains the password's SCRAM verifier.

    It doesn't contain the password itself, because a statement is sent over the network, and may be written to the
    server's log.
    """
    from psycopg import Connection as Driver
    from psycopg import sql

    driver = connection.connection.driver_connection
    assert isinstance(driver, Driver)  # noqa: S101 - database.Database accepts no other driver
    verifier = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    query = sql.SQL(statement).format(sql.Identifier(role), sql.Literal(verifier))
    connection.exec_driver_sql(query.as_string(driver))


def _can_log_in(url: str) -> bool:
    database = Database(url)
    try:
        with database.reading():
            return True
    except StoreUnavailable:
        # The server has just served the owner, so it is up, and refuses this login.
        return False
    finally:
        database.close()
