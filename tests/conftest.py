"""Real servers for whoever asks: started once a session, only when a test wants them.

A missing server skips at home and fails in CI, where it would go unseen (PostgreSQL: where it is installed).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests import servers


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


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[str]:
    """URL of an empty database of the test's own."""
    with servers.fresh_database(postgres_url) as url:
        yield url


@contextmanager
def _or_skip(server: AbstractContextManager[str], *, needed_in_ci: bool = True) -> Iterator[str]:
    try:
        url = server.__enter__()
    except servers.NotInstalled as missing:
        if needed_in_ci and os.environ.get("CI"):
            pytest.fail(str(missing))
        pytest.skip(str(missing))
    try:
        yield url
    finally:
        server.__exit__(None, None, None)
