"""The PostgreSQL role of the workers: it may change rows but no tables, and a worker starts with it."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit
from uuid import uuid4

import psycopg
import pytest

from tests.support.registries import NOW, add_ready, opened_registry
from worker.errors import OperatorFault, StoreUnavailable
from worker.stores.database import Database
from worker.stores.registry.migrations import grant_rows, set_up_role, upgrade_schema


@pytest.fixture
def owner(postgres_database: str) -> Iterator[Database]:
    database = Database(postgres_database)
    yield database
    database.close()


@pytest.fixture
def app_url(postgres_database: str) -> Iterator[str]:
    """The URL of a role that does not exist yet and is dropped after the test."""
    role, parts = f"r{uuid4().hex}", urlsplit(postgres_database)
    yield f"postgresql://{role}:first-password@{parts.hostname}:{parts.port}{parts.path}"
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        row = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone()
        if row:
            connection.execute(f"DROP OWNED BY {role}")
            connection.execute(f"DROP ROLE {role}")


def test_each_step_is_done_once(owner: Database, app_url: str) -> None:
    before, after = upgrade_schema(owner)
    assert before is None
    assert upgrade_schema(owner) == (after, after)
    assert [set_up_role(owner, app_url) for _ in range(2)] == ["made", "there"]
    assert [grant_rows(owner, app_url) for _ in range(2)] == ["made", "there"]


def test_a_worker_starts_and_works_as_a_user_that_can_change_no_table(owner: Database, app_url: str) -> None:
    upgrade_schema(owner)
    set_up_role(owner, app_url)
    grant_rows(owner, app_url)
    with opened_registry(app_url) as registry:
        upgrade_schema(registry.database)
        account_id = add_ready(registry)
        assert [account.id for account in registry.accounts.list_accounts()] == [account_id]
        assert registry.accounts.remove(account_id, NOW)["usage_points"] == 1
        for statement in ("CREATE TABLE mine (a int)", "UPDATE audit_log SET outcome = 'ok'"):
            refused = pytest.raises(StoreUnavailable, match="run `releve migrate`")
            with refused, registry.database.writing() as connection:
                connection.exec_driver_sql(statement)


def test_before_the_tables_are_there_such_a_user_is_told_what_to_do(owner: Database, app_url: str) -> None:
    set_up_role(owner, app_url)
    with (
        opened_registry(app_url) as registry,
        pytest.raises(StoreUnavailable, match="run `releve migrate` as the tables' owner"),
    ):
        upgrade_schema(registry.database)


def test_the_server_never_sees_the_password_itself(owner: Database, app_url: str, postgres_database: str) -> None:
    set_up_role(owner, app_url)
    with psycopg.connect(postgres_database) as connection:
        rows = connection.execute("SELECT rolpassword FROM pg_authid WHERE rolname = %s", [urlsplit(app_url).username])
        assert rows.fetchone()[0].startswith("SCRAM-SHA-256$")


def test_tables_that_a_newer_program_has_made_are_left_alone(owner: Database) -> None:
    upgrade_schema(owner)
    with owner.writing() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(OperatorFault, match=r"9999.*update it"):
        upgrade_schema(owner)
