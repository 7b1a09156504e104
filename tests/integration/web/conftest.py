"""Connect services for the tests of this folder, one a generation of the supplier."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.connect_service import PRESETS, ConnectHouse, Stage, connect_house


@pytest.fixture
def connect_settings() -> dict[str, Any]:
    """What a file wants otherwise, in a fixture of its own by this name."""
    return {}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.accounts.connect._WAITS_S", (0.01, 0.01))


@pytest.fixture(params=PRESETS)
def house(
    request: pytest.FixtureRequest, stage: Stage, tmp_path: Path, connect_settings: dict[str, Any]
) -> Iterator[ConnectHouse]:
    with connect_house(stage, tmp_path, request.param, **connect_settings) as house:
        yield house


@pytest.fixture
def v4(stage: Stage, tmp_path: Path, connect_settings: dict[str, Any]) -> Iterator[ConnectHouse]:
    with connect_house(stage, tmp_path, "enedis-v4", **connect_settings) as house:
        yield house


@pytest.fixture
def v2026(stage: Stage, tmp_path: Path, connect_settings: dict[str, Any]) -> Iterator[ConnectHouse]:
    with connect_house(stage, tmp_path, "enedis-2026", **connect_settings) as house:
        yield house
