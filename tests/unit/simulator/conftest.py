from __future__ import annotations

import pytest

from tests.support.enedis_caller import SimulatorCaller


@pytest.fixture
def supplier() -> SimulatorCaller:
    return SimulatorCaller()
