from __future__ import annotations

import pytest

from tests.support.enedis_caller import Caller


@pytest.fixture
def supplier() -> Caller:
    return Caller()
