"""The web application of a home, with one meter, and without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api_service import ApiService, open_api_service
from tests.support.own_home import SETTINGS, gateway_token


@pytest.fixture
def empty_home(redis_url: str, tmp_path: Path) -> Iterator[ApiService]:
    with open_api_service(redis_url, tmp_path, **SETTINGS) as built:
        built.app.state.local_session.is_open = True  # Tests may run in a container.
        yield built


@pytest.fixture
def home(empty_home: ApiService) -> ApiService:
    empty_home.runtime.gateway_accounts.add(gateway_token(), "cli:anna")
    return empty_home
