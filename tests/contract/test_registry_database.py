"""The registry's database: migrations, threads and outages, on a SQLite file and on PostgreSQL alike."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect

from tests.support.kept_installation import create_kept_tables
from tests.support.processes import NEW_PROCESSES
from tests.support.registries import (
    METER,
    NOW,
    add_ready,
    chain_of,
    open_registry,
    record_outcome,
    registry_keys,
)
from worker.domain.series import Series
from worker.errors import StoreUnavailable
from worker.stores.database import Database
from worker.stores.registry import Registry, migrations
from worker.stores.registry.migrations import upgrade_schema
from worker.stores.registry.tables import METADATA

HEAD = migrations.newest_step()


# The schema


def is_of_registry(name: str | None, kind: str, _: object) -> bool:
    """Return whether a table is one of the registry, in a database that has the measures too."""
    return kind != "table" or not (name or "").startswith("measure_")


def assert_has_the_tables_of_today(url: str) -> None:
    registry = open_registry(url)
    for _ in range(2):
        upgrade_schema(registry.database)
        assert registry.schema_version() == HEAD
    registry.database.close()
    engine = create_engine(url)
    with engine.connect() as connection:
        options = {"compare_type": True, "compare_server_default": True, "include_name": is_of_registry}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), METADATA) == []
        for table in METADATA.sorted_tables:  # The comparison leaves out the primary keys.
            primary_key = inspect(connection).get_pk_constraint(table.name)
            assert primary_key["constrained_columns"] == [column.name for column in table.primary_key.columns]
            assert primary_key["name"] == table.primary_key.name
    engine.dispose()


def test_a_new_registry_has_the_tables_that_the_program_uses(empty_url: str) -> None:
    registry = open_registry(empty_url)
    assert registry.schema_version() is None
    registry.database.close()
    assert_has_the_tables_of_today(empty_url)


def test_the_steps_lead_from_a_kept_release_to_the_tables_that_the_program_uses(empty_url: str) -> None:
    create_kept_tables(empty_url)
    assert_has_the_tables_of_today(empty_url)


def test_the_steps_read_from_the_files_names_are_those_that_alembic_walks() -> None:
    scripts = ScriptDirectory(str(Path(migrations.__file__).parent))
    assert migrations.known_steps() == {script.revision for script in scripts.walk_revisions()}
    assert migrations.newest_step() == scripts.get_current_head()


def migrate_in_process(url: str, start: Any, failures: Any) -> None:
    registry = open_registry(url)
    start.wait(30)
    try:
        upgrade_schema(registry.database)
    except StoreUnavailable as error:
        failures.put(str(error))


@pytest.mark.slow
def test_processes_that_migrate_at_once_take_turns(empty_url: str) -> None:
    start, failures = NEW_PROCESSES.Barrier(3), NEW_PROCESSES.SimpleQueue()
    processes = [NEW_PROCESSES.Process(target=migrate_in_process, args=(empty_url, start, failures)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert failures.empty()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    registry = open_registry(empty_url)
    assert registry.schema_version() == HEAD
    registry.database.close()


def test_threads_that_open_a_new_registry_at_once_take_turns(empty_url: str) -> None:
    registries = [open_registry(empty_url) for _ in range(6)]
    with ThreadPoolExecutor(6) as threads:
        list(
            threads.map(
                lambda registry: (
                    registry.accounts.add("enedis", METER, NOW) if upgrade_schema(registry.database) else None
                ),
                registries,
            )
        )
    assert registries[0].schema_version() == HEAD
    for registry in registries:
        registry.database.close()


def test_a_registry_without_tables_says_to_migrate(empty_url: str) -> None:
    registry = open_registry(empty_url)
    with pytest.raises(StoreUnavailable, match="run `releve migrate`"):
        registry.accounts.list_accounts()
    registry.database.close()


# Threads, outages


def test_many_threads_at_once_lose_nothing(registry: Registry) -> None:
    ids = [add_ready(registry, f"{30001640000000 + n}") for n in range(4)]

    def work(number: int) -> None:
        account_id = ids[number % 4]
        registry.tokens.save(account_id, f"token {number}")
        record_outcome(
            registry, account_id, f"run-{number:03}", last_day=date(2024, 1, 1) + timedelta(days=number), stored=True
        )
        assert registry.accounts.get(account_id).active

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(64)))
    for place, account_id in enumerate(ids):
        outcome = registry.outcomes.load(account_id)[Series.DAILY]
        assert outcome.run_id == f"run-{60 + place:03}"
        assert outcome.last_day == date(2024, 1, 1) + timedelta(days=60 + place)


@pytest.mark.parametrize(
    "bad",
    [
        "postgresql://releve:pass-word@127.0.0.1:1/releve",
        "sqlite:////no-such-folder/pass-word/../registry.db",
    ],
)
def test_a_database_that_is_not_there_is_an_outage_told_in_one_line(bad: str) -> None:
    registry = Registry(Database(bad), registry_keys())
    calls = (
        registry.accounts.list_accounts,
        lambda: upgrade_schema(registry.database),
        lambda: registry.accounts.add("enedis", METER, NOW, token="secret-token"),
    )
    for call in calls:
        with pytest.raises(StoreUnavailable) as caught:
            call()
        assert "\n" not in str(caught.value)
        message = "".join(str(error) for error in chain_of(caught.value))
        assert METER not in message
        assert "secret-token" not in message
        assert "releve:pass-word" not in message
    assert "releve:pass-word" not in repr(registry)
    registry.database.close()


def test_a_file_that_is_no_database_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "registry.db").write_text("not a database, but long enough to have a header " * 20)
    registry = open_registry(f"sqlite:///{tmp_path}/registry.db")
    with pytest.raises(StoreUnavailable, match="not a database"):
        upgrade_schema(registry.database)
    registry.database.close()


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "registry.db",
        "sqlite://",
        "sqlite:///:memory:",
        "postgresql://pass-word@host",
        "mysql://u:pass-word@host/d",
        "postgres://u:pass-word@host/d",
        "postgresql+nodriver://u:pass-word@host/d",
        "postgresql+psycopg2://u:pass-word@host/d",
        "sqlite+aiosqlite:///pass-word.db",
        "postgresql://u:pass-word@host:port/d",
        "none://pass-word",
    ],
)
def test_a_url_that_can_not_serve_is_refused_without_being_shown(bad: str) -> None:
    with pytest.raises(ValueError, match="the registry's URL") as caught:
        Registry(Database(bad), registry_keys())
    assert all("pass-word" not in str(error) for error in chain_of(caught.value))
