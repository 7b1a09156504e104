"""A visit to premises that a test lays out with settings; nothing from outside gets in."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from config.settings import PREFIX, Settings
from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckResult, Level, Note, sum_up

Premises = Callable[..., CheckConnections]


@pytest.fixture
def premises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Premises]:
    """Settings without the prefix, in small letters; ``address`` as Visit's."""
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        monkeypatch.delenv(name)
    with ExitStack() as opened:

        def visit(address: str | None = None, **settings: object) -> CheckConnections:
            told = {"data_dir": tmp_path, "enedis_url": "http://127.0.0.1:9", **settings}
            return CheckConnections(
                Settings.from_env(_env_file=None, **told), opened, start_embedded=False, address=address
            )

        yield visit


def seen(notes: Iterable[Note]) -> CheckResult:
    return sum_up("check", notes)


def assert_told(notes: Iterable[Note], level: Level, *words: str) -> None:
    """The line that comes of ``notes`` is of this level and holds these words."""
    finding = seen(notes)
    assert finding.level is level, finding.told
    missing = [word for word in words if word not in finding.told]
    assert not missing, finding.told
