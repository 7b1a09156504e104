"""The order of the tests by a seed (`make test-rest SEED=7`)."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.sets import ORDERED_FOLDER, pytest_configure

FILES = (f"{ORDERED_FOLDER}test_a.py", *(f"tests/unit/test_{letter}.py" for letter in "bcdef"))


def order_by(seed: str | None) -> list[str]:
    manager = pytest.PytestPluginManager()
    usual = {*manager.get_plugins()}
    config: Any = SimpleNamespace(getoption={"--shuffle": seed}.get, pluginmanager=manager)
    pytest_configure(config)
    items: list[Any] = [SimpleNamespace(path=Path(file), nodeid=f"{file}::{n}") for file in FILES for n in range(5)]
    for plugin in {*manager.get_plugins()} - usual:
        plugin.pytest_collection_modifyitems(items)
    return [item.nodeid for item in items]


def test_a_seed_gives_an_order_of_its_own_but_not_inside_the_files_that_use_one_system() -> None:
    usual, first, second = order_by(None), order_by("1"), order_by("2")
    assert first == order_by("1") and sorted(first) == sorted(usual)
    assert len({tuple(order) for order in (usual, first, second)}) == 3
    assert [name for name in first if name.startswith(ORDERED_FOLDER)] == usual[:5]
