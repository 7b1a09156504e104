"""Checks of the registry's tables in SQLite, which change nothing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.support.registries import add_ready, opened_registry, prepare_registry
from tests.unit.ops.health.conftest import BuildConnections, assert_result
from worker.ops.check_results import Level
from worker.ops.store_checks import check_registry
from worker.stores.registry import migrations


@pytest.fixture
def file(tmp_path: Path) -> Path:
    prepare_registry(tmp_path)
    path = tmp_path / "registry.db"
    with opened_registry(f"sqlite:///{path}") as registry:
        add_ready(registry)
    return path


def put_step(file: Path, step: str) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (step,))
    connection.close()


def test_a_current_registry_is_well(build_connections: BuildConnections, file: Path) -> None:
    newest = migrations.newest_step()
    assert_result(check_registry(build_connections()), Level.OK, "SQLite 3.", f"tables at step {newest}", "1 ready")


def test_one_that_is_not_there_yet_is_not_made_by_looking(build_connections: BuildConnections, tmp_path: Path) -> None:
    assert_result(check_registry(build_connections()), Level.WARN, "does not exist yet", "`releve migrate`")
    assert not (tmp_path / "registry.db").exists()


def test_one_without_tables_is_told_to_be_migrated(build_connections: BuildConnections, tmp_path: Path) -> None:
    (tmp_path / "registry.db").touch()
    assert_result(check_registry(build_connections()), Level.FAIL, "no tables yet", "`releve migrate`")


def test_one_that_is_behind_is_told_to_be_migrated_and_left_as_it_is(
    build_connections: BuildConnections, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = migrations.newest_step()
    monkeypatch.setattr(migrations, "known_steps", lambda: {newest, "9998"})
    before = file.read_bytes()
    assert_result(check_registry(build_connections()), Level.FAIL, f"at step {newest}", "9998", "`releve migrate`")
    assert file.read_bytes() == before


def test_one_that_is_ahead_wants_a_newer_program(build_connections: BuildConnections, file: Path) -> None:
    put_step(file, "9999")
    assert_result(check_registry(build_connections()), Level.FAIL, "at step 9999", "update it, or restore the backup")


def test_one_from_before_the_first_release_is_named_as_such(build_connections: BuildConnections, file: Path) -> None:
    put_step(file, "0003")
    assert_result(check_registry(build_connections()), Level.FAIL, "at step 0003", "before the first release")
