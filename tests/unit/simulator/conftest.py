from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.enedis_caller import SimulatorCaller
from tests.support.one_event_loop import one_event_loop


@pytest.fixture(autouse=True, scope="session")
def _one_event_loop() -> Iterator[None]:
    with one_event_loop():
        yield


@pytest.fixture
def supplier() -> SimulatorCaller:
    return SimulatorCaller()
