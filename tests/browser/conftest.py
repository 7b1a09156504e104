"""One browser for all tests of this folder; a test opens a profile in it for each person."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver

from tests.support.browsed_pages import Site, open_site
from tests.support.browser import open_browser
from tests.support.connect_service import ConnectServers, open_connect_servers


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture(scope="session")
def servers(redis_server_url: str) -> Iterator[ConnectServers]:
    with open_connect_servers(redis_server_url) as servers:
        yield servers


@pytest.fixture
def site(servers: ConnectServers, tmp_path: Path) -> Iterator[Site]:
    with open_site(servers, tmp_path) as site:
        yield site
