"""Capacity of the quota: the night's log line, and the limits that apply to a preset."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from tests.support.registries import NOW
from worker.domain.planning import QuotaBudget
from worker.ops.capacity import log_capacity
from worker.runtime.supplier_settings import quota_from
from worker.stores.registry import Registry


def settings_of(tmp_path: Path, **values: Any) -> Settings:
    return Settings.from_env(_env_file=None, data_dir=str(tmp_path), **values)


@pytest.mark.parametrize(
    "calls_per_hour, level, carried", [(1_000, logging.INFO, 16_800), (2, logging.WARNING, 33), (0, logging.INFO, None)]
)
def test_a_night_says_what_it_takes_and_warns_where_that_is_too_much(
    twenty_accounts: Registry,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    calls_per_hour: int,
    level: int,
    carried: int | None,
) -> None:
    caplog.set_level(logging.INFO, "releve")
    settings = settings_of(tmp_path, calls_per_hour=calls_per_hour, calls_per_second=5 if calls_per_hour else 0)
    log_capacity(twenty_accounts, settings, "nightly:2024-07-25", NOW.date())
    (line,) = caplog.records
    assert line.levelno == level
    assert line.__dict__["fields"] == {
        "run": "nightly:2024-07-25",
        "accounts": 20,
        "calls": 40,
        "carried": carried,
        "daily_every": 1,
        "curve_every": 1,
    }


def test_limits_are_the_presets_unless_others_are_set_for_it(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, preset="enedis-v5", calls_per_hour=0, calls_per_second=2)
    quotas = {name: quota_from(settings, name) for name in ("enedis-v4", "enedis-v5", "enedis-2026")}
    limits = {name: (quota.per_hour, quota.per_second) for name, quota in quotas.items()}
    assert limits == {"enedis-v4": (10_000, 5), "enedis-v5": (None, 2), "enedis-2026": (1_000, 5)}
    assert quota_from(settings_of(tmp_path)) == QuotaBudget(1_000, 5)
