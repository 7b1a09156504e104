"""The PostgreSQL role of the workers: it may read and write the registry's rows, but not change its tables.

`releve migrate` calls these steps as the owner of the tables. Each step is safe to repeat and returns what it did.
"""

from __future__ import annotations

from typing import Final

from psycopg import Connection as Driver
from psycopg import sql
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from worker.errors import StoreUnavailable
from worker.stores.database import Database
from worker.stores.registry.tables import AUDIT_LOG, METADATA

_RIGHTS: Final = ("SELECT", "INSERT", "UPDATE", "DELETE")
_APPEND_ONLY: Final = (AUDIT_LOG.name,)
_STEPS_TABLE: Final = "alembic_version"  # A worker reads the schema's step when it starts.
_ROLE_EXISTS: Final = text("SELECT 1 FROM pg_roles WHERE rolname = :role")
_HAS_RIGHT: Final = text("SELECT has_table_privilege(:role, quote_ident(:table), :right)")


def set_up_role(owner: Database, url: str) -> str:
    """Create the role that ``url`` names, or change its password to the one in ``url``.

    Returns ``made``, ``changed``, or ``there`` if the role could already log in.
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
    """Grant that role all rows of every current table, but no change of the audit log's.

    Returns ``made``, or ``there`` if nothing was missing.
    """
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
    """Execute a statement about a role and its password, with the SCRAM verifier in place of the password.

    The statement travels over the network and may be written to the server's log.
    """
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
        # The server has just served the owner, so the password must be wrong.
        return False
    finally:
        database.close()
