"""The house that docker-compose.yml describes, started by hand once for the tests that want it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.compose.by_hand import ByHand, by_hand
from tests.support import servers


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ByHand]:
    """Its servers are up and empty; the rest is for the test to run."""
    with ExitStack() as opened:
        try:
            started = opened.enter_context(by_hand(tmp_path_factory.mktemp("compose")))
        except servers.NotInstalled as missing:
            if os.environ.get("CI"):
                pytest.fail(str(missing))
            pytest.skip(str(missing))
        yield started
