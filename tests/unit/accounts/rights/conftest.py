"""A runtime with gas for each module, emptied before each test, and the supplier's register in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.declared_rights import GAS, OTHER, PCE, SEVERAL
from tests.support.installation import Installation, new_installation
from tests.support.registries import empty_registry, prepare_registry
from tests.support.right_register import RightRegister
from worker.runtime.process import Runtime


@pytest.fixture(scope="module")
def installation(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return an installation without gas."""
    folder = tmp_path_factory.mktemp("rights")
    prepare_registry(folder)
    return new_installation(folder, redis_url)


@pytest.fixture(scope="module")
def _opened(installation: Installation) -> Iterator[tuple[Runtime, RightRegister]]:
    register = RightRegister()
    with pytest.MonkeyPatch.context() as patch:
        register.install(patch)
        with installation.but(**GAS).open() as runtime:
            yield runtime, register


@pytest.fixture
def runtime(_opened: tuple[Runtime, RightRegister]) -> Runtime:
    runtime, register = _opened
    empty_registry(runtime.registry.database)
    runtime.redis.flushdb()
    register.__init__(postcodes=dict.fromkeys((PCE, OTHER, *SEVERAL), "69001"))  # type: ignore[misc] - as if it were new
    return runtime


@pytest.fixture
def register(runtime: Runtime, _opened: tuple[Runtime, RightRegister]) -> RightRegister:
    return _opened[1]
