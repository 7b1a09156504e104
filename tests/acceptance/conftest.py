"""Fixtures for all acceptance tests.

Each file has one running system and uses it up, since starting one takes seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from config.settings import PREFIX


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Remove settings from the environment: the developer may have a Relève of their own there."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(PREFIX) and "_TEST_" not in name]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _needs_a_redis(redis_server_url: str) -> None:
    """Skip all tests on machines without a Redis-protocol server."""
