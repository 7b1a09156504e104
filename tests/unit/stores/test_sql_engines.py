"""Engines of SQLite files: their connections over a fork, and their errors."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from tests.support.sqlite_connections import is_open, recorded_connections
from worker.stores.sql_engines import open_engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(make_url(f"sqlite:///{tmp_path / 'any.db'}"), 5.0)
    yield engine
    engine.dispose()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_shares_no_connection_with_its_parent(engine: Engine) -> None:
    with recorded_connections() as connections:
        with engine.connect() as used, engine.connect():
            pass
        with engine.connect() as used:
            if (child := os.fork()) == 0:
                try:
                    with engine.connect() as connection:
                        connection.execute(text("SELECT 1"))
                    # One was idle and is closed before the fork, one was in use and stays open, one is the child's.
                    os._exit(0 if sorted(map(is_open, connections)) == [False, True, True] else 1)
                finally:
                    os._exit(2)
            assert os.waitpid(child, 0)[1] == 0
            assert used.execute(text("SELECT 1")).scalar() == 1
        with engine.connect() as connection:
            assert connection.execute(text("SELECT 1")).scalar() == 1


def test_a_connection_of_an_engine_in_use_is_kept_for_the_next_one(engine: Engine) -> None:
    with recorded_connections() as connections:
        for _ in range(3):
            with engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        assert len(connections) == 1
        assert is_open(connections[0])


def test_a_file_that_can_not_be_opened_raises_the_error_of_the_driver(tmp_path: Path) -> None:
    engine = open_engine(make_url(f"sqlite:///{tmp_path / 'nowhere' / 'any.db'}"), 5.0)
    for _ in range(2):
        with pytest.raises(Exception, match="unable to open database file"):
            engine.connect()
