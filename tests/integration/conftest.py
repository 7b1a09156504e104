"""Servers that the connect services of these tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.connect_service import ConnectServers, open_connect_servers


@pytest.fixture(scope="session")
def servers(redis_url: str) -> Iterator[ConnectServers]:
    with open_connect_servers(redis_url) as servers:
        yield servers
