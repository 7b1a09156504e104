"""Readings and totals in one SQL database, read and written together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from worker.domain.measures.documents import Document, Entry, key_range, to_document
from worker.domain.measures.readings import DateWindow, Period
from worker.stores.measures.base import Together
from worker.stores.measures.sql_database import SqlDatabase
from worker.stores.measures.sql_measures import SqlMeasures

NOW = datetime(2024, 7, 25, 7, tzinfo=UTC)
WINDOW = DateWindow(date(2024, 7, 20), date(2024, 7, 25))
RANGES = {period: key_range(WINDOW, period) for period in (Period.MONTH, Period.YEAR, Period.DAY)}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.sockets)])
def measures(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlMeasures]:
    is_sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path / 'm.db'}" if is_sqlite else request.getfixturevalue("postgres_database")
    with closing(SqlDatabase(url, 5.0)) as database:
        yield SqlMeasures(database)


def documents(account_id: str = "acc") -> dict[Period, list[Document]]:
    entries = {
        Period.MONTH: [Entry("2024-07", 6_000_000)],
        Period.YEAR: [Entry("2024", 6_000_000)],
        Period.DAY: [Entry(f"2024-07-{day}", 2_000_000) for day in (22, 20, 21)],
    }
    return {period: [to_document(account_id, period, entry, NOW) for entry in rows] for period, rows in entries.items()}


def test_they_can_be_asked_together(measures: SqlMeasures) -> None:
    assert isinstance(measures, Together)


def test_together_is_what_each_gives_alone_in_key_order(measures: SqlMeasures) -> None:
    for account_id in ("acc", "other"):
        assert not any(measures.write_together(documents(account_id)).values())
    together = measures.read_together("acc", RANGES)
    assert together == {period: measures[period].read("acc", *keys) for period, keys in RANGES.items()}
    assert [document["_id"] for document in together[Period.DAY]] == [f"acc:2024-07-{day}" for day in (20, 21, 22)]
    assert [len(together[period]) for period in (Period.MONTH, Period.YEAR)] == [1, 1]


@pytest.mark.parametrize("loser", [Period.DAY, Period.MONTH, Period.YEAR])
def test_where_one_loses_its_race_nothing_is_written(measures: SqlMeasures, loser: Period) -> None:
    first = documents()[loser][-1]
    assert measures[loser].write([first]) == []
    stored = measures[loser].read("acc", "", "~")
    new = documents()
    assert measures.write_together(new) == new
    assert {period: measures[period].read("acc", "", "~") for period in RANGES} == {
        period: stored if period is loser else [] for period in RANGES
    }


def test_what_was_read_is_replaced(measures: SqlMeasures) -> None:
    measures.write_together(documents())
    stored = measures.read_together("acc", RANGES)
    higher = {
        period: [{**document, "load": document["load"] + 1} for document in rows] for period, rows in stored.items()
    }
    assert not any(measures.write_together(higher).values())
    assert measures.write_together(higher) == higher  # The revisions are used up.
    again = measures.read_together("acc", RANGES)
    loads = [document["load"] for document in again[Period.DAY]]
    assert loads == [document["load"] for document in higher[Period.DAY]]


def test_nothing_at_all_is_written_gladly(measures: SqlMeasures) -> None:
    assert measures.write_together({period: [] for period in RANGES}) == {period: [] for period in RANGES}
