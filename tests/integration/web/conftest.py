"""Connect services for the tests of this folder, one a generation of the supplier."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.api_service import ApiServices, open_services_once
from tests.support.connect_service import PRESETS, ConnectServers, ConnectService, ConnectServices
from tests.support.one_event_loop import one_event_loop


@pytest.fixture(autouse=True, scope="session")
def _one_event_loop() -> Iterator[None]:
    with one_event_loop():
        yield


@pytest.fixture(scope="module")
def api_settings() -> dict[str, str]:
    """Return the settings of the module's API service; a module with others overrides this."""
    return {}


@pytest.fixture(scope="session")
def apis_with(redis_server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., ApiServices]]:
    with open_services_once(redis_server_url, lambda: tmp_path_factory.mktemp("api")) as services:
        yield services


@pytest.fixture(scope="module")
def kept_apis(redis_url: str, apis_with: Callable[..., ApiServices], api_settings: dict[str, str]) -> ApiServices:
    """Return what empties the module's API service for each test."""
    return apis_with(**api_settings)


@pytest.fixture(scope="session")
def kept_services(servers: ConnectServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConnectServices]:
    """Yield what opens a service once, and empties it for each test."""
    with ConnectServices(servers, lambda: tmp_path_factory.mktemp("connect")) as services:
        yield services


@pytest.fixture(params=PRESETS)
def service(request: pytest.FixtureRequest, kept_services: ConnectServices) -> ConnectService:
    """Return an empty service of one generation: the newest, and of each where a test's subject is the generation."""
    return kept_services.empty(request.param)


@pytest.fixture
def v4(kept_services: ConnectServices) -> ConnectService:
    return kept_services.empty("enedis-v4")


@pytest.fixture
def v5(kept_services: ConnectServices) -> ConnectService:
    return kept_services.empty("enedis-v5")


@pytest.fixture
def v2026(kept_services: ConnectServices) -> ConnectService:
    return kept_services.empty("enedis-2026")
