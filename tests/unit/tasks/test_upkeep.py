"""The task by which all accounts follow the series that beat's setting names."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from config import celery_options
from tasks import upkeep
from worker.domain.series import Series, of_supplier
from worker.errors import StoreUnavailable


class PretendRuntime:
    """The parts of a runtime that the task uses."""

    def __init__(self) -> None:
        self.followed: list[list[Series]] = []
        self.texts: dict[str, str] = {}
        self.away = False
        self.registry = SimpleNamespace(outcomes=self)
        self.progress = self

    def now(self) -> None:
        return None

    def offers(self, series: Series) -> bool:
        return series in of_supplier("enedis") and series is not Series.REGISTERS

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
def runtime(monkeypatch: pytest.MonkeyPatch) -> PretendRuntime:
    runtime = PretendRuntime()
    monkeypatch.setattr(upkeep, "get_runtime", lambda: runtime)
    return runtime


def test_accounts_follow_once_and_again_when_the_setting_changes(runtime: PretendRuntime) -> None:
    for names in ("daily", "daily", "daily,registers,max_power", "daily"):
        upkeep.follow_fleet_series.run(names)
    assert runtime.followed == [[Series.DAILY], [Series.DAILY, Series.MAX_POWER], [Series.DAILY]]


def test_what_failed_is_done_again(runtime: PretendRuntime) -> None:
    runtime.away = True
    with pytest.raises(StoreUnavailable):
        upkeep.follow_fleet_series.run("daily")
    runtime.away = False
    upkeep.follow_fleet_series.run("daily")
    assert len(runtime.followed) == 2


def test_beat_sends_its_own_setting() -> None:
    entry = celery_options.beat_schedule["follow fleet series"]
    assert (entry["task"], entry["args"]) == ("tasks.upkeep.follow_fleet_series", ("daily,load_curve",))
