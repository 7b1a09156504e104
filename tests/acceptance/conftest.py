"""Houses for the acceptance tests.  Each file has one running and uses it up, for starting one takes seconds."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from config.settings import PREFIX


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """Whoever runs the tests may have a Relève of their own in the environment."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith(PREFIX) and "_TEST_" not in name]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _needs_a_redis(redis_url: str) -> None:
    """Skips all, where there is no server to start."""
