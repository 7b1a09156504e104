"""The services of docker-compose.yml as processes, for the tests that use them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.integration.compose.by_hand import ComposeProcesses, open_processes
from tests.support import servers


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeProcesses]:
    """Yield an installation whose servers are up and empty; the test starts everything else."""
    with ExitStack() as stack:
        try:
            processes = stack.enter_context(open_processes(tmp_path_factory.mktemp("compose")))
        except servers.NotInstalled as error:
            if os.environ.get("CI"):
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield processes
