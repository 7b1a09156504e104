"""Real servers for whoever asks: started once a session, only when a test wants them.

A missing server skips at home and fails in CI, where it would go unseen (PostgreSQL: where it is installed).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeVar

import pytest

from tests.support import redis_servers, servers
from tests.support.certificates import Certificates, make_certificates
from tests.support.rabbitmq import RabbitMQ, rabbitmq
from worker.logs import ConsoleLines

Server = TypeVar("Server")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis-protocol server for tests alone; a test empties it itself when it needs it empty."""
    with _or_skip(servers.redis_server()) as url:
        yield url


@pytest.fixture(scope="session")
def couchdb_url() -> Iterator[str]:
    """A CouchDB-protocol server, as ``couchdb+http://…``; RELEVE_TEST_COUCHDB_URL names a real one instead."""
    if given := os.environ.get("RELEVE_TEST_COUCHDB_URL"):
        yield given if given.startswith("couchdb+") else f"couchdb+{given}"
        return
    with _or_skip(servers.couchdb_server()) as url:
        yield url


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A PostgreSQL server; RELEVE_TEST_POSTGRES_URL names another, whose user may create databases."""
    if given := os.environ.get("RELEVE_TEST_POSTGRES_URL"):
        yield given
        return
    with _or_skip(servers.postgres_server(), needed_in_ci=False) as url:
        yield url


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def rabbitmq_node(certificates: Certificates) -> Iterator[RabbitMQ]:
    """A RabbitMQ node; who kills it starts it again."""
    with _or_skip(rabbitmq(certificates)) as node:
        yield node


@pytest.fixture(scope="session")
def tls_redis(certificates: Certificates) -> Iterator[str]:
    with _or_skip(redis_servers.tls_redis(certificates)) as url:
        yield url


@pytest.fixture(scope="module")
def watched_redis() -> Iterator[redis_servers.Watched]:
    """Redis behind Sentinels, used up by the one who kills its leader."""
    with _or_skip(redis_servers.watched_redis()) as watched:
        yield watched


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """URL of an empty database of the test's own."""
    with servers.fresh_database(postgres_url) as url:
        yield url


@pytest.fixture
def caplog(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """pytest's, but its text shows our fields too: what must not be logged must not be there either."""
    pytests_own = caplog.handler.formatter
    caplog.handler.setFormatter(ConsoleLines())
    yield caplog
    caplog.handler.setFormatter(pytests_own)


@contextmanager
def _or_skip(server: AbstractContextManager[Server], *, needed_in_ci: bool = True) -> Iterator[Server]:
    try:
        running = server.__enter__()
    except servers.NotInstalled as missing:
        if needed_in_ci and os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    try:
        yield running
    finally:
        server.__exit__(None, None, None)
