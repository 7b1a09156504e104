"""Each store of the house, empty, behind the same fixture: what holds for one must hold for all."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import couchdb
import pytest
from redis import Redis
from sqlalchemy import create_engine, text

from tests.support.fakes import ByDoctype, memory_measures, packed_memory_measures
from tests.support.registries import opened_registry, prepare_registry
from worker.stores.measures.factory import open_measures
from worker.stores.redis.connection import connect
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.migrations import upgrade_schema

STORES = (
    ("memory", "plain"),
    ("memory", "packed"),
    ("sqlite", "plain"),
    pytest.param(("postgresql", "plain"), marks=pytest.mark.sockets),
    pytest.param(("couchdb", "plain"), marks=pytest.mark.sockets),
    pytest.param(("couchdb", "packed"), marks=pytest.mark.sockets),
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
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database for a registry; on PostgreSQL a schema of its own, so that one server serves all tests."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/registry.db"
        return
    server = request.getfixturevalue("postgres_url")
    schema = f"registry_{uuid.uuid4().hex}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        yield f"{server}{'&' if '?' in server else '?'}options=-csearch_path%3D{schema}"
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    engine.dispose()


@pytest.fixture
def registry(url: str, tmp_path: Path) -> Iterator[AccountRegistry]:
    """An empty registry at ``url``."""
    if url.startswith("sqlite"):
        prepare_registry(tmp_path)  # So that no step is left to take.
    with opened_registry(url) as registry:
        upgrade_schema(registry.database)
        yield registry


@pytest.fixture(params=STORES, ids="-".join)
def measures(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ByDoctype]:
    """A measure store, in one layout, that nobody has written to yet."""
    kind, layout = request.param
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
