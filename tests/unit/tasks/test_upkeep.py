"""The task by which all accounts follow the series that beat's setting names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from config import celery_options
from config.settings import Settings
from tasks import upkeep
from tests.support.parts import use_parts
from worker.domain.series import Series
from worker.errors import StoreUnavailable


class PretendParts:
    """The parts that the task uses."""

    def __init__(self) -> None:
        self.followed: list[list[Series]] = []
        self.texts: dict[str, str] = {}
        self.away = False
        self.registry = SimpleNamespace(outcomes=self)
        self.windows = self.stores = self
        self.settings = Settings.from_env(_env_file=None, preset="enedis-v5")

    def now(self) -> None:
        return None

    def get_text(self, name: str) -> str | None:
        return self.texts.get(name)

    def put_text(self, name: str, text: str, ttl_s: int) -> None:
        self.texts[name] = text

    def follow_fleet(self, fleet: list[Series], now: Any) -> int:
        self.followed.append(fleet)
        if self.away:
            raise StoreUnavailable("the registry is away")
        return 1


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> PretendParts:
    parts = PretendParts()
    use_parts(monkeypatch, parts)
    return parts


def test_accounts_follow_once_and_again_when_the_setting_changes(parts: PretendParts) -> None:
    for names in ("daily", "daily", "daily,registers,max_power", "daily"):
        upkeep.follow_fleet_series.run(names)
    assert parts.followed == [[Series.DAILY], [Series.DAILY, Series.MAX_POWER], [Series.DAILY]]


def test_what_failed_is_done_again(parts: PretendParts) -> None:
    parts.away = True
    with pytest.raises(StoreUnavailable):
        upkeep.follow_fleet_series.run("daily")
    parts.away = False
    upkeep.follow_fleet_series.run("daily")
    assert len(parts.followed) == 2


def test_beat_sends_its_own_setting() -> None:
    entry = celery_options.beat_schedule["follow fleet series"]
    assert (entry["task"], entry["args"]) == ("tasks.upkeep.follow_fleet_series", ("daily,load_curve",))
