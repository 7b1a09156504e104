"""A registry for tests of capacity."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.registries import add_ready, new_registry
from worker.stores.registry import Registry


@pytest.fixture
def twenty_accounts(tmp_path: Path) -> Iterator[Registry]:
    """Yield a registry of twenty active accounts without a sign that a curve is missing."""
    with new_registry(tmp_path) as registry:
        for number in range(20):
            add_ready(registry, f"300016400000{number:02}")
        yield registry
