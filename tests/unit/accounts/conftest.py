"""A service with gas, whose supplier's register of rights is in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.gas_homes import GAS_SETTINGS
from tests.support.installation import new_installation
from tests.support.parts import Parts
from tests.support.registries import prepare_registry
from tests.support.right_register import RightRegister


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> RightRegister:
    register = RightRegister()
    register.install(monkeypatch)
    return register


@pytest.fixture
def parts(redis_url: str, tmp_path: Path, register: RightRegister) -> Iterator[Parts]:
    prepare_registry(tmp_path)
    with new_installation(tmp_path, redis_url, **GAS_SETTINGS).open() as parts:
        yield parts
