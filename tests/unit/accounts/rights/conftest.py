"""A parts with gas for each module, emptied before each test, and the supplier's register in memory."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.declared_rights import GAS, OTHER, PCE, SEVERAL
from tests.support.installation import Installation, new_installation
from tests.support.parts import Parts
from tests.support.registries import empty_registry, prepare_registry
from tests.support.right_register import RightRegister


@pytest.fixture(scope="module")
def installation(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Return an installation without gas."""
    folder = tmp_path_factory.mktemp("rights")
    prepare_registry(folder)
    return new_installation(folder, redis_url)


@pytest.fixture(scope="module")
def _opened(installation: Installation) -> Iterator[tuple[Parts, RightRegister]]:
    register = RightRegister()
    with pytest.MonkeyPatch.context() as patch:
        register.install(patch)
        with installation.but(**GAS).open() as parts:
            yield parts, register


@pytest.fixture
def parts(_opened: tuple[Parts, RightRegister]) -> Parts:
    parts, register = _opened
    empty_registry(parts.stores.registry.database)
    parts.stores.redis.flushdb()
    register.__init__(postcodes=dict.fromkeys((PCE, OTHER, *SEVERAL), "69001"))  # type: ignore[misc] - as if it were new
    return parts


@pytest.fixture
def register(parts: Parts, _opened: tuple[Parts, RightRegister]) -> RightRegister:
    return _opened[1]
