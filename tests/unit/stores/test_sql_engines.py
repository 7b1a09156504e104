"""Engines that are disposed of while somebody uses one of their connections."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, make_url, text

from tests.support.sqlite_connections import assert_all_closed, is_open, recorded_connections
from worker.stores.sql_engines import open_engine


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(make_url(f"sqlite:///{tmp_path / 'any.db'}"), 5.0)
    yield engine
    engine.dispose()


def test_a_connection_in_use_during_a_close_is_closed_when_it_comes_back(engine: Engine) -> None:
    with recorded_connections() as connections:
        with engine.begin() as connection:
            engine.dispose()
            assert connection.execute(text("SELECT 1")).scalar() == 1
            assert is_open(connections[0])
        assert_all_closed(connections)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_connection_that_a_thread_uses_during_a_fork_is_closed_when_it_comes_back(engine: Engine) -> None:
    in_use, forked = threading.Event(), threading.Event()

    def use() -> None:
        with engine.begin():
            in_use.set()
            assert forked.wait(10)

    with recorded_connections() as connections:
        thread = threading.Thread(target=use)
        thread.start()
        assert in_use.wait(10)
        if (child := os.fork()) == 0:
            os._exit(0)
        os.waitpid(child, 0)
        forked.set()
        thread.join()
        assert_all_closed(connections)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_leaves_a_connection_open_that_its_parent_was_using(engine: Engine) -> None:
    with recorded_connections() as connections, engine.connect() as connection:
        if (child := os.fork()) == 0:
            try:
                connection.close()
                os._exit(0 if is_open(connections[0]) else 1)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0


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
