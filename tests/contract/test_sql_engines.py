"""PostgreSQL connections that are closed by the server while they are idle."""

from __future__ import annotations

from sqlalchemy import create_engine, text

from worker.domain.measures.readings import Period
from worker.stores.measures.base import ALL_KEYS
from worker.stores.measures.factory import open_measures

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
        assert store.read("acc", {Period.DAY: ALL_KEYS}) == {Period.DAY: []}
        assert end_all_others(postgres_database) >= 1
    assert store.write({Period.DAY: []}) == {Period.DAY: []}
