"""Erased readings are in no file of a SQLite measure store, even while another process has it open."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from worker.domain.documents import ALL_KEYS
from worker.domain.series import Doctype
from worker.stores.measures import open_measures
from worker.stores.measures.measure_store import MeasureStore

ACCOUNT = "h4t8q2mxk0ra"
DAYS = {Doctype.DAY: ALL_KEYS}


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[MeasureStore]]:
    """Two processes' stores of the same file, so that the log isn't removed when one of them closes."""
    stores: list[MeasureStore] = [open_measures(f"sqlite:///{tmp_path / 'measures.db'}", timeout_s=5) for _ in range(2)]
    fields = {"load": 1.5, "year": 2024, "month": 7, "day": 1, "hour": 0, "minute": 0}
    stores[0].write({Doctype.DAY: [{"_id": f"{ACCOUNT}:2024-07-{day:02}", **fields} for day in range(1, 29)]})
    stores[1].read(ACCOUNT, DAYS)
    yield stores
    for store in stores:
        store.close()


def files_that_name(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if ACCOUNT.encode() in file.read_bytes()]


def test_an_erasure_leaves_no_reading_in_the_database_or_its_log(stores: list[MeasureStore], tmp_path: Path) -> None:
    assert files_that_name(tmp_path), "the readings are there at first"
    assert stores[0].erase(ACCOUNT) == 28
    assert files_that_name(tmp_path) == []


def test_what_a_reader_has_kept_in_the_log_goes_when_the_log_is_emptied_later(
    stores: list[MeasureStore], tmp_path: Path
) -> None:
    reader = stores[1]._store._database  # type: ignore[attr-defined]
    with reader.reading() as connection:
        connection.exec_driver_sql("SELECT count(*) FROM measure_day").all()
        assert stores[0].erase(ACCOUNT) == 28, "it doesn't wait for the reader"
        assert files_that_name(tmp_path), "the reader is the reason for the later run"
    stores[0].empty_log()
    assert files_that_name(tmp_path) == []
