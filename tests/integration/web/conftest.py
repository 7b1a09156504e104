"""Connect services for the tests of this folder, one a generation of the supplier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver

from tests.support.browser import open_browser
from tests.support.connect_service import PRESETS, ConnectServers, ConnectService, open_connect_service


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Yield a browser that is shared: a test opens a profile in it, for each person."""
    with open_browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
def connect_settings() -> dict[str, Any]:
    """Return changed settings; a test file overrides this fixture with one of the same name."""
    return {}


@pytest.fixture(params=PRESETS)
def service(
    request: pytest.FixtureRequest, servers: ConnectServers, tmp_path: Path, connect_settings: dict[str, Any]
) -> Iterator[ConnectService]:
    with open_connect_service(servers, tmp_path, request.param, **connect_settings) as service:
        yield service


@pytest.fixture
def v4(servers: ConnectServers, tmp_path: Path, connect_settings: dict[str, Any]) -> Iterator[ConnectService]:
    with open_connect_service(servers, tmp_path, "enedis-v4", **connect_settings) as service:
        yield service


@pytest.fixture
def v2026(servers: ConnectServers, tmp_path: Path, connect_settings: dict[str, Any]) -> Iterator[ConnectService]:
    with open_connect_service(servers, tmp_path, "enedis-2026", **connect_settings) as service:
        yield service
