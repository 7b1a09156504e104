"""Databases in SQLite files: their connections over a fork."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from tests.support.sqlite_connections import is_open, recorded_connections
from worker.stores.database import Database


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path / 'any.db'}")
    yield database
    database.close()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_a_child_shares_no_connection_with_its_parent(database: Database) -> None:
    with recorded_connections() as connections:
        with database.reading(), database.reading():
            pass
        with database.reading() as used:
            if (child := os.fork()) == 0:
                try:
                    with database.reading() as connection:
                        connection.execute(text("SELECT 1"))
                    # One was idle and is closed before the fork, one was in use and stays open, one is the child's.
                    os._exit(0 if sorted(map(is_open, connections)) == [False, True, True] else 1)
                finally:
                    os._exit(2)
            assert os.waitpid(child, 0)[1] == 0
            assert used.execute(text("SELECT 1")).scalar() == 1
        with database.reading() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1
    # The connection that was in use at the fork went back to a pool that nobody has any more: it is closed here.
    del used, connection
    connections.clear()
    gc.collect()


def test_a_connection_of_a_database_in_use_is_kept_for_the_next_transaction(database: Database) -> None:
    with recorded_connections() as connections:
        for _ in range(3):
            with database.reading() as connection:
                connection.execute(text("SELECT 1"))
        assert len(connections) == 1
        assert is_open(connections[0])


def test_what_is_deleted_is_in_no_file_any_more_once_the_log_is_emptied(database: Database, tmp_path: Path) -> None:
    """SQLite's write-ahead log keeps what was written before, until it begins anew."""
    other = Database(f"sqlite:///{tmp_path / 'any.db'}")  # While one is open, the log isn't removed.
    with database.writing() as connection:
        connection.execute(text("CREATE TABLE meters (number TEXT)"))
        connection.execute(text("INSERT INTO meters VALUES ('21546000001017')"))
    with other.writing() as connection:
        connection.execute(text("DELETE FROM meters"))
    files = [file for file in tmp_path.iterdir() if b"21546000001017" in file.read_bytes()]
    assert files, "the log is the reason for this test"
    with other.reading() as connection:
        connection.execute(text("SELECT * FROM meters")).all()
        database.empty_log()  # It doesn't wait for a reader.
    database.empty_log()
    assert [file for file in tmp_path.iterdir() if b"21546000001017" in file.read_bytes()] == []
    with other.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM meters")).scalar() == 0
    other.close()
