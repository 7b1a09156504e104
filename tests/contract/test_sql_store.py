"""The SQL store beyond the contract: refusals, waits and error texts."""

from __future__ import annotations

import sqlite3
import traceback
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, event, text

from tests.support.fakes import ByDoctype, DoctypeView
from tests.support.sqlite_connections import committing_to_disk
from worker.domain.documents import ALL_KEYS, Document
from worker.domain.series import Doctype
from worker.errors import StoreUnavailable, WriteRefused
from worker.stores.measures import open_measures

DOCUMENT: Document = {
    "_id": "acc:2024-01-15",
    "load": 7.654321,
    "year": 2024,
    "month": 1,
    "day": 15,
    "hour": 0,
    "minute": 0,
    "created_at": "2024-07-25T07:00:00+00:00",
    "updated_at": "2024-07-25T07:00:00+00:00",
    "source_account": "acc",
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "measures.db"


def open_days(file: Path, timeout_s: float = 30.0) -> DoctypeView:
    return ByDoctype(open_measures(f"sqlite:///{file}", timeout_s=timeout_s))[Doctype.DAY]


def test_a_field_without_a_column_is_refused_and_not_dropped(file: Path) -> None:
    store = open_days(file)
    with pytest.raises(WriteRefused, match="price"):
        store.write([{**DOCUMENT, "price": 0.2}])
    assert store.read("acc", "", "~") == []


@pytest.mark.parametrize("field", ["load", "year", "minute"])
def test_a_document_that_lacks_a_number_is_refused_without_its_values(file: Path, field: str) -> None:
    store = open_days(file)
    with pytest.raises(WriteRefused) as caught:
        store.write([{name: value for name, value in DOCUMENT.items() if name != field}])
    text = "".join(traceback.format_exception(caught.value))
    assert "7.654321" not in text
    assert "acc:" not in text


@pytest.mark.parametrize("revision", ["", "0", "-1", "x", "1-967a00df", "9" * 40])
def test_a_revision_of_any_shape_replaces_nothing(file: Path, revision: str) -> None:
    store = open_days(file)
    store.write([DOCUMENT])
    foreign = {**DOCUMENT, "_rev": revision}
    assert store.write([foreign]) == [foreign]


def test_a_file_that_somebody_else_holds_is_an_outage_after_the_wait(file: Path) -> None:
    store = open_days(file, timeout_s=0.1)
    store.write([DOCUMENT])
    other = sqlite3.connect(file, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            store.write([{**DOCUMENT, "_id": "acc:2024-01-16"}])
        assert len(store.read("acc", "", "~")) == 1  # Readers don't wait for a writer.
    finally:
        other.close()
    assert store.write([{**DOCUMENT, "_id": "acc:2024-01-16"}]) == []


def test_a_write_that_fails_half_way_leaves_nothing_behind(file: Path) -> None:
    store = open_days(file)
    store.write([DOCUMENT])
    [stored] = store.read("acc", "", "~")
    with pytest.raises(WriteRefused):
        store.write([{**DOCUMENT, "_id": "acc:2024-01-16"}, {**stored, "load": None}])
    assert store.read("acc", "", "~") == [stored]


def test_a_power_cut_takes_nothing_back_and_readers_don_t_wait(file: Path) -> None:
    """The database has a write-ahead log, and FULL synchronisation, which is SQLite's default."""
    found: set[tuple[str, int]] = set()

    def look(connection: sqlite3.Connection, _record: object) -> None:
        pragmas = ("journal_mode", "synchronous")
        mode, synchronous = (connection.execute(f"PRAGMA {pragma}").fetchone()[0] for pragma in pragmas)
        found.add((mode, synchronous))

    event.listen(Engine, "checkin", look)
    try:
        with committing_to_disk():
            open_days(file).write([DOCUMENT])
    finally:
        event.remove(Engine, "checkin", look)
    assert found == {("wal", 2)}


def test_a_number_too_large_for_postgresql_is_refused_without_its_values(postgres_database: str) -> None:
    store = ByDoctype(open_measures(postgres_database))[Doctype.DAY]
    with pytest.raises(WriteRefused) as caught:
        store.write([{**DOCUMENT, "year": 987_654_321}])
    assert "7.654321" not in "".join(traceback.format_exception(caught.value))


def test_a_table_can_be_queried_by_hand(file: Path) -> None:
    """As Grafana or a person would: docs/reference/documents.md."""
    open_days(file).write([DOCUMENT])
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT account_id, key, load, year, month, day FROM measure_day").fetchall()
    assert rows == [("acc", "2024-01-15", 7.654321, 2024, 1, 15)]


def test_readings_and_totals_are_written_in_one_transaction(file: Path) -> None:
    store = open_measures(f"sqlite:///{file}")
    month = {**DOCUMENT, "_id": "acc:2024-01", "day": 0}
    with pytest.raises(WriteRefused):
        store.write({Doctype.DAY: [DOCUMENT], Doctype.MONTH: [{**month, "load": None}]})
    assert store.read("acc", {Doctype.MONTH: ALL_KEYS, Doctype.DAY: ALL_KEYS}) == {Doctype.MONTH: [], Doctype.DAY: []}


# Connections that PostgreSQL closes while they are idle


_END_ALL = text(
    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def end_all_others(url: str) -> int:
    engine = create_engine(url)
    with engine.connect() as connection:
        ended = int(connection.execute(_END_ALL).scalar_one())
    engine.dispose()
    return ended


def test_one_that_the_server_closed_is_replaced_unseen(postgres_database: str) -> None:
    store = open_measures(postgres_database)
    for _ in range(2):
        assert store.read("acc", {Doctype.DAY: ALL_KEYS}) == {Doctype.DAY: []}
        assert end_all_others(postgres_database) >= 1
    assert store.write({Doctype.DAY: []}) == {Doctype.DAY: []}
