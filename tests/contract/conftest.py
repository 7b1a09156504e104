"""Each store of the house, empty, behind the same fixture: what holds for one must hold for all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TypeAlias

import couchdb
import psycopg
import pytest
from redis import Redis
from sqlalchemy import create_engine

from tests.support.fakes import ByDoctype, memory_measures, packed_memory_measures
from tests.support.registries import (
    empty_registry,
    opened_registry,
    prepare_registry,
    registry_keys,
)
from worker.stores.database import Database
from worker.stores.measures import open_measures
from worker.stores.measures.sql import METADATA as MEASURES
from worker.stores.redis.connection import connect
from worker.stores.registry import Registry
from worker.stores.registry.migrations import upgrade_schema

OpenDatabase: TypeAlias = tuple[str, Database]  # With its URL.

COUCHDB = (pytest.mark.sockets, pytest.mark.couchdb)
STORES = (
    pytest.param(("memory", "plain"), marks=pytest.mark.rest),
    ("memory", "packed"),
    ("sqlite", "plain"),
    pytest.param(("postgresql", "plain"), marks=pytest.mark.sockets),
    pytest.param(("couchdb", "plain"), marks=COUCHDB),
    pytest.param(("couchdb", "packed"), marks=(*COUCHDB, pytest.mark.rest)),
)


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def prefix() -> str:
    """Sets a test's keys apart from those of all others."""
    return f"test-{uuid.uuid4().hex}:"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.sockets)])
def dialect(request: pytest.FixtureRequest) -> str:
    """The kind of database that holds the registry."""
    return str(request.param)


@pytest.fixture
def empty_url(dialect: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables; on PostgreSQL a schema, which costs the server a twentieth of a database."""
    if dialect == "sqlite":
        yield f"sqlite:///{tmp_path}/registry.db"
        return
    server, schema = request.getfixturevalue("shared_postgres"), f"empty_{uuid.uuid4().hex}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        yield f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{schema}"
        connection.execute(f"DROP SCHEMA {schema} CASCADE")


@pytest.fixture(scope="session")
def sqlite_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenDatabase]:
    folder = tmp_path_factory.mktemp("registry")
    prepare_registry(folder)
    with opened_registry(url := f"sqlite:///{folder}/registry.db") as registry:
        yield url, registry.database


@pytest.fixture(scope="session")
def postgresql_registry(shared_postgres: str) -> Iterator[OpenDatabase]:
    with opened_registry(shared_postgres) as registry:
        upgrade_schema(registry.database)
        yield shared_postgres, registry.database


@pytest.fixture
def opened(dialect: str, request: pytest.FixtureRequest) -> OpenDatabase:
    """A migrated database that all tests of the session share."""
    database: OpenDatabase = request.getfixturevalue(f"{dialect}_registry")
    return database


@pytest.fixture
def url(opened: OpenDatabase) -> str:
    """The database of ``registry``."""
    return opened[0]


@pytest.fixture
def registry(opened: OpenDatabase) -> Registry:
    """An empty registry."""
    empty_registry(opened[1])
    return Registry(opened[1], registry_keys())


@pytest.fixture(params=STORES, ids="-".join)
def kind_and_layout(request: pytest.FixtureRequest) -> tuple[str, str]:
    kind, layout = request.param
    return kind, layout


@pytest.fixture
def new_measures(
    kind_and_layout: tuple[str, str], request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[ByDoctype]:
    """A measure store, in one layout, that nobody has used yet."""
    kind, layout = kind_and_layout
    with ExitStack() as opened:
        if kind == "memory":
            yield ByDoctype(memory_measures() if layout == "plain" else packed_memory_measures())
            return
        url, prefix = f"sqlite:///{tmp_path / 'measures.db'}", ""
        if kind == "postgresql":
            url = request.getfixturevalue("postgres_database")
        elif kind == "couchdb":
            url, prefix = opened.enter_context(couch_databases(request.getfixturevalue("couchdb_url")))
        yield ByDoctype(opened.enter_context(closing(open_measures(url, prefix=prefix, layout=layout))))


@pytest.fixture
def measures(kind_and_layout: tuple[str, str], request: pytest.FixtureRequest) -> ByDoctype:
    """An empty measure store, in one layout; a database of SQL has its tables already."""
    kind, _ = kind_and_layout
    if kind not in ("sqlite", "postgresql"):
        store: ByDoctype = request.getfixturevalue("new_measures")
        return store
    shared: SharedMeasures = request.getfixturevalue(f"{kind}_measures")
    return shared.emptied()


class SharedMeasures:
    """A measure store in SQL that all tests of the session use, one after the other."""

    def __init__(self, url: str) -> None:
        self._store, self._engine = open_measures(url), create_engine(url)
        self._store.prepare()

    def emptied(self) -> ByDoctype:
        with self._engine.begin() as connection:
            for table in MEASURES.sorted_tables:
                connection.execute(table.delete())
        return ByDoctype(self._store)

    def close(self) -> None:
        self._store.close()
        self._engine.dispose()


@pytest.fixture(scope="session")
def sqlite_measures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedMeasures]:
    with closing(SharedMeasures(f"sqlite:///{tmp_path_factory.mktemp('measures')}/measures.db")) as shared:
        yield shared


@pytest.fixture(scope="session")
def postgresql_measures(shared_postgres: str) -> Iterator[SharedMeasures]:
    with closing(SharedMeasures(shared_postgres)) as shared:
        yield shared


@contextmanager
def couch_databases(url: str) -> Iterator[tuple[str, str]]:
    """A prefix of one's own on a shared server; the databases with it are dropped afterwards."""
    prefix = f"t{uuid.uuid4().hex}-"
    try:
        yield url, prefix
    finally:
        server = couchdb.Server(url.removeprefix("couchdb+"))
        for name in [name for name in server if name.startswith(prefix)]:
            server.delete(name)
