"""The web application with its pages, and an account with data, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest
from redis import Redis

from tests.support.api_service import TODAY, ApiService, ApiServices, open_services_once
from tests.support.household_pages import record_outcome
from tests.support.one_event_loop import one_event_loop
from worker.domain.series import USUAL_SERIES
from worker.stores.redis.connection import connect


@pytest.fixture(autouse=True, scope="session")
def _one_event_loop() -> Iterator[None]:
    with one_event_loop():
        yield


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture(scope="module")
def service_settings() -> dict[str, str]:
    """Return the settings of the module's service; a module with others overrides this."""
    return {}


@pytest.fixture(scope="session")
def services_with(
    redis_server_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., ApiServices]]:
    with open_services_once(redis_server_url, lambda: tmp_path_factory.mktemp("service")) as services:
        yield services


@pytest.fixture(scope="module")
def services(
    redis_url: str, services_with: Callable[..., ApiServices], service_settings: dict[str, str]
) -> ApiServices:
    return services_with(**service_settings)


@pytest.fixture
def service(services: ApiServices) -> ApiService:
    return services.new()


@pytest.fixture
def account(service: ApiService) -> str:
    """Two months of days and one day of half-hours, up to yesterday."""
    account_id = service.add(11)
    service.store_days(account_id, TODAY - timedelta(days=60), [5000 + 10 * rank for rank in range(60)])
    service.store_half_hours(account_id, TODAY - timedelta(days=1), [100] * 48)
    for series in USUAL_SERIES:
        record_outcome(service, account_id, series)
    return account_id
