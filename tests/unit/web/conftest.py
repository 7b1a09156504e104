"""The web application with its pages, and an account with data, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from redis import Redis

from tests.support.api_service import TODAY, ApiService, open_api_service
from tests.support.household_pages import record_outcome
from worker.domain.measures.series import USUAL_SERIES
from worker.stores.redis.connection import connect


@pytest.fixture
def redis(redis_url: str) -> Iterator[Redis]:
    with connect(redis_url) as client:
        yield client


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[ApiService]:
    with open_api_service(redis_url, tmp_path) as built:
        yield built


@pytest.fixture
def account(service: ApiService) -> str:
    """Two months of days and one day of half-hours, up to yesterday."""
    account_id = service.add(11)
    service.store_days(account_id, TODAY - timedelta(days=60), [5000 + 10 * rank for rank in range(60)])
    service.store_half_hours(account_id, TODAY - timedelta(days=1), [100] * 48)
    for series in USUAL_SERIES:
        record_outcome(service, account_id, series)
    return account_id
