"""PostgreSQL connections that are closed by the server while they are idle."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine, text

from worker.domain.measures.readings import Period
from worker.errors import StoreUnavailable
from worker.stores import sql_engines
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


def test_one_that_lay_idle_is_replaced_unseen(postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_engines, "PING_AFTER_IDLE_S", 0.0)
    store = open_measures(postgres_database)[Period.DAY]
    assert store.read("acc", "", "~") == []
    assert end_all_others(postgres_database) >= 1
    assert store.read("acc", "", "~") == []


def test_one_that_was_just_used_fails_once_in_plain_words(
    postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_engines, "PING_AFTER_IDLE_S", 3600.0)
    store = open_measures(postgres_database)[Period.DAY]
    assert store.read("acc", "", "~") == []
    assert end_all_others(postgres_database) >= 1
    with pytest.raises(StoreUnavailable, match="does not serve"):
        store.read("acc", "", "~")
    assert store.read("acc", "", "~") == []
