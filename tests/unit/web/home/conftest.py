"""The web application of a home, with one meter, and without one."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.api_service import ApiService, ApiServices
from tests.support.own_home import SETTINGS, gateway_token


@pytest.fixture
def empty_home(services_with: Callable[..., ApiServices]) -> ApiService:
    home = services_with(**SETTINGS).new()
    home.app.state.local_session.is_open = True  # Tests may run in a container.
    return home


@pytest.fixture
def home(empty_home: ApiService) -> ApiService:
    empty_home.parts.consent.assertion.add_by_token(gateway_token(), "cli:anna")
    return empty_home
