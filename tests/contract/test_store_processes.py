"""Measure stores in several processes: a store opened before a fork, and the first use by all at once."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.contract.conftest import couch_databases
from tests.support.fakes import ByDoctype
from tests.support.processes import NEW_PROCESSES
from worker.domain.documents import Document
from worker.domain.series import Doctype
from worker.stores.measures import open_measures

FIELDS = {"year": 2024, "month": 1, "day": 1, "hour": 0, "minute": 0}


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.sockets),
        pytest.param("couchdb", marks=(pytest.mark.sockets, pytest.mark.couchdb)),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """URL and prefix of a real store that was not used yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'measures.db'}", ""
    elif request.param == "postgresql":
        yield request.getfixturevalue("postgres_database"), ""
    else:
        with couch_databases(request.getfixturevalue("couchdb_url")) as place:
            yield place


def documents(account: str, load: float = 0.5) -> list[Document]:
    keys = [f"2024-01-{day:02d}" for day in range(1, 21)]
    return [{"_id": f"{account}:{key}", "load": load, **FIELDS, "source_account": account} for key in keys]


def start_child(work: Callable[[], object]) -> int:
    """Fork a child that does ``work`` and exits with 0 if it succeeds; return its process id."""
    if pid := os.fork():
        return pid
    try:
        work()
        os._exit(0)
    finally:
        os._exit(1)


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_store_used_before_a_fork_serves_parent_and_children_alike(place: tuple[str, str]) -> None:
    url, prefix = place
    store = ByDoctype(open_measures(url, prefix=prefix))[Doctype.DAY]
    for number in range(5):
        store.write(documents(f"acc{number}", load=float(number)))

    def read_and_write_own(number: int) -> None:
        for _ in range(50):
            stored = store.read(f"acc{number}", "", "~")
            assert [document["load"] for document in stored] == [float(number)] * 20
        assert store.write(documents(f"new{number}")) == []

    children = [start_child(partial(read_and_write_own, number)) for number in range(4)]
    read_and_write_own(4)
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 4
    assert [len(store.read(f"new{number}", "", "~")) for number in range(5)] == [20] * 5


def write_at_once(url: str, prefix: str, number: int, answers: multiprocessing.Queue[tuple[int, int]]) -> None:
    store = ByDoctype(open_measures(url, prefix=prefix))[Doctype.DAY]
    answers.put((number, len(store.write(documents("acc", load=float(number))))))


@pytest.mark.slow
def test_processes_that_meet_an_empty_store_at_once_make_it_and_share_it(place: tuple[str, str]) -> None:
    url, prefix = place
    answers: multiprocessing.Queue[tuple[int, int]] = NEW_PROCESSES.Queue()
    processes = [NEW_PROCESSES.Process(target=write_at_once, args=(url, prefix, n, answers)) for n in range(4)]
    for process in processes:
        process.start()
    lost = dict(answers.get(timeout=60) for _ in processes)
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    stored = ByDoctype(open_measures(url, prefix=prefix))[Doctype.DAY].read("acc", "", "~")
    assert len(stored) == 20
    assert sum(lost.values()) == 3 * 20
