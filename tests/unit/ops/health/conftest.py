"""Connections for checks, with the settings of a test and nothing from the environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from config.settings import PREFIX, Settings
from worker.ops.check_results import CheckConnections, CheckResult, Level, summarize

BuildConnections = Callable[..., CheckConnections]


@pytest.fixture
def build_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BuildConnections]:
    """Return a function that takes settings without their prefix, in small letters, and the address of a listener."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    with ExitStack() as stack:

        def build(address: str = "", **settings: object) -> CheckConnections:
            values = {"data_dir": tmp_path, "enedis_url": "http://127.0.0.1:9", **settings}
            return CheckConnections(
                Settings.from_env(_env_file=None, **values), stack, start_embedded=False, address=address
            )

        yield build


def result_of(notes: Iterable[CheckResult]) -> CheckResult:
    return summarize("check", notes)


def assert_result(notes: Iterable[CheckResult], level: Level, *words: str) -> None:
    """Check that the summary of ``notes`` has this level, contains these words, and can be told in French."""
    result = result_of(notes)
    assert bool(result.translate("fr")) == bool(result.text)
    assert result.level is level, result.text
    missing = [word for word in words if word not in result.text]
    assert not missing, result.text
