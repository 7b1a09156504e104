"""What the connect services of these tests stand on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.connect_service import Stage, open_stage


@pytest.fixture(scope="session")
def stage(redis_url: str) -> Iterator[Stage]:
    with open_stage(redis_url) as stage:
        yield stage
