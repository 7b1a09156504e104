"""`releve plan`: its output, the policy it stores, and its refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import CommandResult
from tests.support.installation import new_installation
from tests.support.registries import add_ready, new_registry
from worker.domain.completeness import COMPLETE, DayMark, DayState
from worker.domain.schedule import FleetPolicy
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY
from worker.stores.registry import Registry
from worker.stores.registry.outcomes import RunOutcome

NIGHT = date(2026, 11, 2)
NOW = "2026-11-01T23:30:00+00:00"  # In Paris it is half past midnight of the 2nd.
Releve = Callable[..., CommandResult]


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with new_registry(tmp_path) as registry:
        yield registry


@pytest.fixture
def releve(tmp_path: Path) -> Releve:
    return partial(new_installation(tmp_path, pretend_now=NOW).run, "plan")


def read_json(ended: CommandResult) -> Any:
    assert ended.code == 0, ended.err
    return json.loads(ended.out)


def test_a_plan_is_told_for_any_fleet_and_preset(releve: Releve) -> None:
    plan = read_json(releve("--accounts", "100000", "--preset", "enedis-v5", "--history-days", "745", "--json"))
    assert plan == {
        "preset": "enedis-v5",
        "accounts": 100_000,
        "without_curve": 0,
        "history_days": 745,
        "series": {"daily": 100_000, "load_curve": 100_000},
        "calls_per_hour": 10_000,
        "calls_per_second": 5,
        "night_hours": 24,
        "fits": True,
        "policy": {"daily_every": 1, "curve_every": 2},
        "calls_a_night": 150_000,
        "naive_calls_a_night": 200_000,
        "hours_a_night": [14.69, 21.21],
        "backfill_days": 166.7,
        "lanes": {
            "first_screen": {"needed": 300_000, "a_day": 24_000},
            "nightly": {"needed": 150_000, "a_day": 168_000},
            "repair": {"needed": None, "a_day": 24_000},
            "backfill": {"needed": 10_700_000, "a_day": 42_000},
        },
        "most_accounts": {"everything_every_night": 84_000, "totals_every_night": 147_000, "once_a_week": 588_000},
        "calls_per_hour_needed": {
            "everything_every_night": 11_905,
            "totals_every_night": 6_803,
            "once_a_week": 1_701,
        },
    }


def test_the_lines_for_people_say_the_same(releve: Releve) -> None:
    ended = releve("--accounts", "100000", "--preset", "enedis-v5")
    words = ("totals every night, curves every 2nd night", "150000 calls", "588000 once a week", "168000 calls a day")
    assert [word for word in words if word not in ended.out] == []
    assert (ended.code, ended.err) == (0, "")


def test_a_fleet_for_which_no_policy_is_enough_hears_what_to_ask_for(releve: Releve) -> None:
    ended = releve("--accounts", "1000000", "--preset", "enedis-2026")
    assert "too much for the quota" in ended.out
    assert ended.error_line.endswith(
        "once a week, 1000000 accounts are too many: 58800 are possible; ask the supplier for 17007 calls an hour"
    )


@pytest.mark.parametrize("option", ["--json", "--apply"])
def test_a_script_hears_by_the_exit_code_that_a_plan_does_not_fit(releve: Releve, option: str) -> None:
    ended = releve("--accounts", "1000000", "--preset", "enedis-2026", option)
    assert ended.code == 1
    if option == "--json":
        assert json.loads(ended.out)["fits"] is False
    else:
        assert releve("--show").code == 0, "what is in use can always be shown"


@pytest.mark.parametrize(
    ("accounts", "hours"), [("1000", "0.1 h of 24 h"), ("100000", "14.7 h, 21.2 h if other lanes are busy, of 24 h")]
)
def test_the_hours_of_a_night_are_one_number_where_other_lanes_add_none(
    releve: Releve, accounts: str, hours: str
) -> None:
    assert f", {hours}\n" in releve("--accounts", accounts, "--preset", "enedis-v5").out


def test_a_limit_of_ones_own_and_shorter_nights_are_reckoned_with(releve: Releve) -> None:
    words = ("--accounts", "12000", "--without-curve", "3000", "--night-hours", "12", "--json")
    plan = read_json(releve(*words, "--calls-per-hour", "2000"))
    assert plan["lanes"]["nightly"] == {"needed": 15_429, "a_day": 16_800}
    assert plan["policy"] == {"daily_every": 1, "curve_every": 3}
    unlimited = read_json(releve(*words, "--calls-per-hour", "0", calls_per_second="0"))
    assert (unlimited["fits"], unlimited["policy"]["curve_every"]) == (True, 1)
    assert unlimited["lanes"]["nightly"]["a_day"] is unlimited["most_accounts"]["once_a_week"] is None


def test_without_a_number_the_registry_is_counted(releve: Releve, registry: Registry) -> None:
    homes = [add_ready(registry, f"300016400000{number}") for number in (11, 22, 33)]
    late = {NIGHT - age * ONE_DAY: DayMark(DayState.LATE, 0, age) for age in (1, 2, 3)}
    whole = dict.fromkeys(late, COMPLETE)
    for series, days in ((Series.DAILY, whole), (Series.LOAD_CURVE, late)):
        registry.outcomes.record(
            homes[0],
            series.value,
            "r",
            datetime.now(UTC),
            RunOutcome(code=None, message="", last_day=None, stored=True, days=days),
        )
    plan = read_json(releve("--json"))
    assert (plan["accounts"], plan["without_curve"], plan["calls_a_night"]) == (3, 1, 3 + 2 + 1)


def test_what_is_applied_holds_from_the_next_night_on_until_it_is_reset(releve: Releve, registry: Registry) -> None:
    assert "no plan is in use" in releve("--show").out
    plan = read_json(releve("--accounts", "12000", "--without-curve", "3000", "--apply", "--json"))
    assert plan["since"] == "2026-11-03", "the night that begins today goes on as it was"
    policy = registry.policies.load_current(date(2100, 1, 1))
    assert policy == FleetPolicy(1, 3)
    assert registry.policies.load_current(NIGHT) == FleetPolicy()
    policy_row = read_json(releve("--show", "--json"))
    assert (policy_row["since"], policy_row["curve_every"], policy_row["applied_at"][:16]) == (
        "2026-11-03",
        3,
        NOW[:16],
    )
    assert policy_row["arithmetic"] == {name: value for name, value in plan.items() if name != "since"}
    assert "from 2026-11-03 on: totals every night, curves every 3rd night" in releve("--show").out
    assert read_json(releve("--reset", "--json")) == {"forgotten": 1}
    assert registry.policies.load_current(date(2100, 1, 1)) == FleetPolicy()
    assert "0 dropped" in releve("--reset").out


@pytest.mark.parametrize(
    "words, text",
    [
        (("--accounts", "9", "--preset", "enedis-v5", "--series", "daily,registers"), "enedis-v5 has no registers"),
        ((), "the registry has no active account: give the expected number with --accounts"),
        (("--accounts", "0"), "0 is not in the range"),
        (("--accounts", "1", "--preset", "enedis-v6"), "'enedis-v6' is not one of"),
        (("--accounts", "1", "--without-curve", "2"), "--without-curve needs --accounts"),
        (("--without-curve", "2"), "--without-curve needs --accounts"),
        (("--apply", "--reset"), "give only one of"),
        (("--show", "--reset"), "give only one of"),
    ],
)
def test_misuse_is_one_clear_line(releve: Releve, words: tuple[str, ...], text: str) -> None:
    ended = releve(*words)
    assert (ended.code, ended.out) == (2, "")
    assert text in ended.error_line


def test_a_registry_that_can_not_be_opened_is_one_clear_line(releve: Releve, tmp_path: Path) -> None:
    (tmp_path / "registry.db").mkdir()
    ended = releve()
    assert ended.code == 1
    assert "registry" in ended.error_line
