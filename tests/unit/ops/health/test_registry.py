"""The registry's tables against this program's, in SQLite; the doctor changes neither."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.unit.ops.health.conftest import Premises, assert_told
from worker.ops.health.databases import registry
from worker.ops.health.results import Level
from worker.stores.encryption import Sealer, new_key
from worker.stores.registry import migrations
from worker.stores.registry.accounts import AccountRegistry


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "registry.db"
    house = AccountRegistry(f"sqlite:///{path}", Sealer([new_key()]))
    house.migrate()
    house.add("enedis", "30001640000011", datetime(2024, 7, 25, tzinfo=UTC), token_needed=False)
    house.close()
    return path


def put_step(file: Path, step: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (step,))
    connection.close()


def step_of(file: Path) -> str:
    with sqlite3.connect(file) as connection:
        step = str(connection.execute("SELECT version_num FROM alembic_version").fetchone()[0])
    connection.close()
    return step


def test_a_current_registry_is_well(premises: Premises, file: Path) -> None:
    newest = migrations.newest_step()
    assert_told(registry(premises()), Level.OK, "SQLite 3.", f"tables at step {newest}", "1 ready")


def test_one_that_is_not_there_yet_is_not_made_by_looking(premises: Premises, tmp_path: Path) -> None:
    assert_told(registry(premises()), Level.WARN, "not made yet", "`releve migrate`")
    assert not (tmp_path / "registry.db").exists()


def test_one_without_tables_is_told_to_be_migrated(premises: Premises, tmp_path: Path) -> None:
    (tmp_path / "registry.db").touch()
    assert_told(registry(premises()), Level.FAIL, "no tables yet", "`releve migrate`")


def test_one_that_is_behind_is_told_to_be_migrated_and_left_as_it_is(premises: Premises, file: Path) -> None:
    put_step(file, "0001")
    assert_told(registry(premises()), Level.FAIL, "at step 0001", migrations.newest_step(), "`releve migrate`")
    assert step_of(file) == "0001"


def test_one_that_is_ahead_wants_a_newer_program(premises: Premises, file: Path) -> None:
    put_step(file, "9999")
    assert_told(registry(premises()), Level.FAIL, "at step 9999", "update this one, or restore the backup")
