"""What several of these tests share: an installation, empty but for its tables, and the servers of connect services."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from tests.support.connect_service import ConnectServers, open_connect_servers
from tests.support.installation import Installation, new_installation
from tests.support.parts import Parts
from tests.support.registries import prepare_registry


@pytest.fixture
def installation(redis_url: str, tmp_path: Path) -> Installation:
    with Redis.from_url(redis_url) as redis:
        redis.flushdb()
    prepare_registry(tmp_path)
    return new_installation(tmp_path, redis_url)


@pytest.fixture
def parts(installation: Installation) -> Iterator[Parts]:
    with installation.open() as parts:
        yield parts


@pytest.fixture(scope="session")
def servers(redis_server_url: str) -> Iterator[ConnectServers]:
    with open_connect_servers(redis_server_url) as servers:
        yield servers
