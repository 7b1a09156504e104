"""The numbers of docs/explanation/capacity-planning.md are those of the code."""

from __future__ import annotations

from dataclasses import replace

import pytest

from config.settings import Settings
from tests.support.pages import ROOT
from worker.clients.enedis.presets import PRESETS
from worker.clients.grdf.presets import PRESETS as GAS_PRESETS
from worker.domain.lanes import QUOTA_LANES, Lane
from worker.domain.planning import TYPICAL_POLICIES, USUAL_SHARES, Fleet, Plan, QuotaBudget, plan_fleet
from worker.domain.schedule import MOST_NIGHTS
from worker.domain.series import Series
from worker.ops.capacity import describe_policy

PAGE = ROOT / "docs" / "explanation" / "capacity-planning.md"
FLEETS = (1_000, 100_000, 1_000_000)
ALL_SERIES = (Series.DAILY, Series.LOAD_CURVE, Series.MAX_POWER, Series.REGISTERS)
GAS_FLEETS = (1_000, 3_000, 6_000, 30_000)


def limits() -> dict[int, list[str]]:
    """Return the names of the presets by their calls an hour."""
    names_by_limit: dict[int, list[str]] = {}
    for name, preset in PRESETS.items():
        names_by_limit.setdefault(preset.calls_per_hour, []).append(f"`{name}`")
    return dict(sorted(names_by_limit.items()))


def rows() -> list[str]:
    """Return the table of examples, for the preset with the smallest quota: the usual one."""
    [(limit, names), *_] = limits().items()
    return [row(plan_fleet(Fleet(n), QuotaBudget(limit)), names) for n in FLEETS]


def row(plan: Plan, names: list[str]) -> str:
    fits = str(describe_policy(plan.policy)) if plan.fits else f"too many: at most {number(most(plan))} fit"
    cells = [
        number(plan.fleet.accounts),
        ", ".join(names),
        fits,
        number(plan.calls_a_night),
        hours(plan),
        f"{plan.backfill_days:.1f} days",
    ]
    return f"| {' | '.join(cells)} |"


def needed_rows() -> list[str]:
    """Return the table of the limits an hour that fleets need, which is the same for every preset."""
    lines = []
    for accounts in FLEETS:
        fleet = Fleet(accounts)
        calls = (fleet.calls_a_night(TYPICAL_POLICIES[name]) for name in ("everything_every_night", "once_a_week"))
        limits_an_hour = [number(QuotaBudget(1).hour_limit_for(number_of_calls)) for number_of_calls in calls]
        lines.append(f"| {number(accounts)} | {' | '.join(limits_an_hour)} |")
    return lines


def most_rows() -> list[str]:
    """Return the table of the largest fleets: of each preset that has all the series, then of gas."""
    fleets = [Fleet(1, asked=dict.fromkeys(ALL_SERIES[:count], 1)) for count in range(1, len(ALL_SERIES) + 1)]
    lines = [
        most_row(fleet, QuotaBudget(limit), names)
        for limit, names in limits().items()
        for fleet in fleets
        if all(PRESETS[names[0].strip("`")].offers(series) for series in fleet.numbers)
    ]
    return [*lines, most_row(Fleet(1, supplier="grdf"), gas_quota(), ["`grdf-adict`"])]


def most_row(fleet: Fleet, quota: QuotaBudget, names: list[str]) -> str:
    policies = (replace(policy, supplier=fleet.supplier) for policy in TYPICAL_POLICIES.values())
    fitting = [number(most(Plan(fleet, quota, policy))) for policy in policies]
    return f"| {', '.join(names)} | `{','.join(fleet.numbers)}` | {' | '.join(fitting)} |"


def most(plan: Plan) -> int:
    accounts = plan.most_accounts(plan.policy)
    assert accounts is not None
    return accounts


def number(value: int) -> str:
    return f"{value:,}".replace(",", " ")


def hours(plan: Plan) -> str:
    alone, beside = (f"{hours:.1f}" for hours in plan.hours)
    return f"{alone} h" if alone == beside else f"{alone} to {beside} h"


def gas_rows() -> list[str]:
    """Return the table of gas: fleets on the limits of GRDF's preset."""
    lines = []
    for accounts in GAS_FLEETS:
        plan = plan_fleet(Fleet(accounts, supplier="grdf"), gas_quota())
        fits = str(describe_policy(plan.policy)) if plan.fits else f"too many: at most {number(most(plan))} fit"
        needed = plan.as_json()["calls_per_day_needed"]["everything_every_night"]
        cells = [
            number(accounts),
            fits,
            number(plan.fleet.naive_calls_a_night),
            number(plan.calls_a_night),
            hours(plan),
            f"{plan.backfill_days:.1f} days",
            number(needed),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def gas_quota() -> QuotaBudget:
    preset = GAS_PRESETS["grdf-adict"]
    return QuotaBudget(preset.calls_per_hour, preset.calls_per_second, per_day=preset.calls_per_day)


@pytest.mark.parametrize("line", [*rows(), *needed_rows(), *most_rows(), *gas_rows()])
def test_a_line_of_the_page_is_what_the_code_says(line: str) -> None:
    assert line in PAGE.read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("page", ["README.md", "README.fr.md"])
def test_a_first_page_promises_what_enedis_usual_quota_gives(page: str) -> None:
    plan = Plan(
        Fleet(1),
        QuotaBudget(PRESETS[Settings.model_fields["preset"].default].calls_per_hour),
        TYPICAL_POLICIES["everything_every_night"],
    )
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    assert number(most(plan)) in text and number(most(replace(plan, policy=TYPICAL_POLICIES["once_a_week"]))) in text


def test_the_formula_of_the_example_is_worked_as_the_code_works_it() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    quota, fleet = QuotaBudget(10_000), Fleet(100_000)
    percent = quota.nights_percent
    assert f"10 000 × 24 × {percent} % = {number(quota.night_limit or 0)}" in text
    calls = [
        fleet.calls_a_night(policy)
        for policy in (TYPICAL_POLICIES["everything_every_night"], plan_fleet(fleet, quota).policy)
    ]
    assert f"100 000 + 100 000 = {number(calls[0])}" in text
    assert f"100 000 + 100 000 / 2 = {number(calls[1])}" in text


def test_what_the_page_says_of_calls_and_shares_holds() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    assert (
        Series.LOAD_CURVE.description.max_window_days,
        Series.LOAD_CURVE.description.look_back_days,
        MOST_NIGHTS,
    ) == (7, 7, 7)
    assert f"{Series.DAILY.description.max_window_days} daily values or 7 days of curve" in text
    assert f"the last {Series.DAILY.description.look_back_days} days" in text
    floors = {USUAL_SHARES.floor(lane) for lane in QUOTA_LANES[:-1] if lane is not Lane.NIGHTLY}
    assert f"{floors.pop()} % each" in text and not floors
    pace_limit = QuotaBudget(1).pace_limit
    assert f"four calls a second, {number(pace_limit or 0)} an hour" in text
    gas = plan_fleet(Fleet(1, supplier="grdf"), gas_quota())
    assert f"{number(gas.as_json()['most_accounts']['everything_every_night'])} homes" in text
