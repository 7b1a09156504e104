"""The database user of the workers: it reads and writes the registry's rows and can change no table.

For `releve migrate` on PostgreSQL, as the owner of the tables.  Each step is safe to repeat and says whether it did
anything.
"""

from __future__ import annotations

from typing import Final

from psycopg import Connection as Driver
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from worker.errors import StoreUnavailable
from worker.stores.registry.database import Database
from worker.stores.registry.tables import METADATA

_ROWS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_STEPS_TABLE: Final = "alembic_version"  # a worker looks at it when it starts
_ROLE: Final = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
_RIGHT: Final = text("SELECT has_table_privilege(:role, quote_ident(:table), :right)")


def set_up_role(owner: Database, url: str) -> str:
    """The user that ``url`` names can log in with its password: ``made``, ``changed`` or ``there``."""
    told = make_url(url)
    role, password = told.username or "", str(told.password or "")
    with owner.writing() as connection:
        if connection.execute(_ROLE, {"role": role}).first() is None:
            _say(connection, "CREATE ROLE {} LOGIN PASSWORD {}", role, password)
            return "made"
    if _logs_in(url):
        return "there"
    with owner.writing() as connection:
        _say(connection, "ALTER ROLE {} LOGIN PASSWORD {}", role, password)
    return "changed"


def grant_rows(owner: Database, url: str) -> str:
    """That user may read and write rows of every table there is now: ``made`` or ``there``."""
    role = make_url(url).username or ""
    wanted = [(table.name, right) for table in METADATA.sorted_tables for right in _ROWS]
    wanted.append((_STEPS_TABLE, "SELECT"))
    with owner.writing() as connection:
        missing = [
            (table, right)
            for table, right in wanted
            if not connection.execute(_RIGHT, {"role": role, "table": table, "right": right}).scalar_one()
        ]
        for table, right in missing:
            grant = sql.SQL("GRANT {} ON {} TO {}").format(sql.SQL(right), sql.Identifier(table), sql.Identifier(role))
            connection.exec_driver_sql(grant.as_string())
    return "made" if missing else "there"


def _say(connection: Connection, statement: str, role: str, password: str) -> None:
    """What travels, and may stand in the server's log, is the password's SCRAM verifier."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, Driver)  # noqa: S101 - the only driver that engines.parse_url lets through
    verifier = driver.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    made = sql.SQL(statement).format(sql.Identifier(role), sql.Literal(verifier))
    connection.exec_driver_sql(made.as_string(driver))


def _logs_in(url: str) -> bool:
    database = Database(url)
    try:
        with database.reading():
            return True
    except StoreUnavailable:  # the owner has just been served, so it is the password
        return False
    finally:
        database.close()
