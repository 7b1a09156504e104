"""Rules of the planning: a plan fits its quota, never exceeds asking for everything, and grows evenly."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.lanes import Lane
from worker.domain.planning import (
    HOURS_A_DAY,
    POLICIES_FRESHEST_FIRST,
    TYPICAL_POLICIES,
    Fleet,
    Plan,
    QuotaBudget,
    plan_fleet,
)
from worker.domain.schedule import FleetPolicy
from worker.domain.series import Series, of_supplier

ELECTRICITY = of_supplier("enedis")
GAS = QuotaBudget(3_600, 1, per_day=6_000)

limits = st.one_of(st.none(), st.integers(1, 100_000))
quotas = st.builds(
    QuotaBudget,
    limits,
    st.one_of(st.none(), st.integers(1, 50)),
    st.integers(1, HOURS_A_DAY),
    per_day=st.one_of(st.none(), st.integers(1, 100_000)),
)


@st.composite
def fleets(draw: st.DrawFn) -> Fleet:
    accounts = draw(st.integers(1, 3_000_000))
    return Fleet(accounts, draw(st.integers(0, accounts)), draw(st.integers(0, 745)))


@given(fleets(), quotas)
def test_a_night_takes_what_its_quota_allows_or_the_plan_says_that_it_does_not_fit(
    fleet: Fleet, quota: QuotaBudget
) -> None:
    plan = plan_fleet(fleet, quota)
    assert plan.fits == (quota.night_limit is None or plan.calls_a_night <= quota.night_limit)
    if not plan.fits:
        assert plan.policy == FleetPolicy(7, 7), "even the least was tried"


@given(fleets(), quotas)
def test_never_more_calls_than_asking_everything_of_everybody(fleet: Fleet, quota: QuotaBudget) -> None:
    assert plan_fleet(fleet, quota).calls_a_night <= fleet.naive_calls_a_night


@given(fleets(), quotas)
def test_nothing_is_given_up_that_the_quota_carries(fleet: Fleet, quota: QuotaBudget) -> None:
    """No policy fresher than the chosen one fits; if everything fits, everything is asked for."""
    chosen = plan_fleet(fleet, quota).policy
    assert not any(
        Plan(fleet, quota, policy).fits for policy in POLICIES_FRESHEST_FIRST[: POLICIES_FRESHEST_FIRST.index(chosen)]
    )


@given(fleets(), quotas, st.integers(1, 1_000_000))
def test_a_larger_fleet_is_never_asked_for_more_often(fleet: Fleet, quota: QuotaBudget, more: int) -> None:
    larger = Fleet(fleet.accounts + more, fleet.without_curve, fleet.history_days)
    now, then = plan_fleet(fleet, quota), plan_fleet(larger, quota)
    assert POLICIES_FRESHEST_FIRST.index(then.policy) >= POLICIES_FRESHEST_FIRST.index(now.policy)
    assert now.fits or not then.fits


@given(fleets(), quotas, st.integers(0, 50_000))
def test_a_larger_quota_never_makes_it_worse(fleet: Fleet, quota: QuotaBudget, more: int) -> None:
    if quota.per_hour is not None:
        larger = replace(quota, per_hour=quota.per_hour + more)
        now, then = plan_fleet(fleet, quota), plan_fleet(fleet, larger)
        assert POLICIES_FRESHEST_FIRST.index(then.policy) <= POLICIES_FRESHEST_FIRST.index(now.policy)


@given(fleets(), quotas)
def test_the_most_accounts_fit_and_one_more_does_not(fleet: Fleet, quota: QuotaBudget) -> None:
    plan = plan_fleet(fleet, quota)
    for policy in TYPICAL_POLICIES.values():
        most = plan.most_accounts(policy)
        assert (most is None) == (quota.hour_limit is None and quota.per_day is None)
        if most is not None:
            assert Plan(fleet.scaled_to(most), quota, policy).fits
            assert not Plan(fleet.scaled_to(most + 1), quota, policy).fits


@given(fleets(), quotas)
def test_the_calls_an_hour_that_are_needed_are_enough_and_one_less_is_not(fleet: Fleet, quota: QuotaBudget) -> None:
    for policy in TYPICAL_POLICIES.values():
        needed = quota.hour_limit_for(fleet.calls_a_night(policy))
        for per_hour, fits in ((needed, True), (needed - 1, False)):
            assert Plan(fleet, QuotaBudget(per_hour, None, quota.night_hours), policy).fits is fits


@given(fleets(), quotas)
def test_the_lanes_share_a_day_and_none_is_shut_out(fleet: Fleet, quota: QuotaBudget) -> None:
    plan = plan_fleet(fleet, quota)
    lanes = plan.daily_calls_by_lane
    if lanes is None or quota.day_limit is None:
        assert lanes is quota.day_limit is None
        return
    night = min(plan.calls_a_night, lanes["nightly"])
    assert lanes["first_screen"] + lanes["repair"] + lanes["backfill"] + night == quota.day_limit
    assert all(lanes[lane] >= quota.day_limit // 10 for lane in ("first_screen", "repair", "backfill"))


@given(fleets(), quotas)
def test_a_night_beside_busy_lanes_is_no_shorter_and_one_that_fits_ends_in_time(
    fleet: Fleet, quota: QuotaBudget
) -> None:
    plan = plan_fleet(fleet, quota)
    alone, beside = plan.hours
    assert 0 <= alone <= beside + 1e-9
    if plan.fits and quota.hour_limit is not None:
        assert alone <= quota.night_hours + 1e-9


def test_the_hour_is_used_at_once_and_then_waited_for() -> None:
    assert QuotaBudget(1_000).hours_for(1_000) == pytest.approx(1_000 / 14_400)
    assert QuotaBudget(1_000).hours_for(1_001) == pytest.approx(1 + 1 / 14_400)
    assert QuotaBudget(10_000).hours_for(40_000) == pytest.approx(3 + 10_000 / 14_400)
    assert QuotaBudget(100_000).hours_for(28_800) == 2, "the second is the lower limit"
    assert QuotaBudget(None, None).hours_for(28_800) == 0


def test_more_is_given_up_step_by_step() -> None:
    """With 5 000 calls a night and ever more accounts, first the curves become older, then the totals."""
    quota = QuotaBudget(5_000 * 100 // 70 // 24 + 1, None)
    policies = {accounts: plan_fleet(Fleet(accounts), quota).policy for accounts in (2_000, 3_000, 4_000, 4_500, 9_000)}
    assert policies == {
        2_000: FleetPolicy(1, 1),
        3_000: FleetPolicy(1, 2),
        4_000: FleetPolicy(1, 4),
        4_500: FleetPolicy(2, 2),
        9_000: FleetPolicy(3, 5),
    }


@given(fleets(), quotas, st.dictionaries(st.sampled_from(ELECTRICITY), st.integers(0, 100_000), max_size=8))
def test_further_series_cost_a_call_a_turn_of_their_cadence(
    fleet: Fleet, quota: QuotaBudget, asked: dict[Series, int]
) -> None:
    further = replace(fleet, without_curve=0, asked=asked)
    each = [Fleet(number, history_days=fleet.history_days, asked={series: number}) for series, number in asked.items()]
    policy = plan_fleet(further, quota).policy
    assert further.calls_a_night(policy) == sum(one.calls_a_night(policy) for one in each)
    assert further.calls_a_night(policy) <= further.naive_calls_a_night
    for one in each:
        assert one.calls_a_night(FleetPolicy()) <= -(-one.accounts // cadence_of(one))


def cadence_of(fleet: Fleet) -> int:
    [series] = fleet.numbers
    return series.description.cadence_nights


def test_a_fleet_with_all_series_is_planned() -> None:
    fleet = Fleet(100_000, asked=dict.fromkeys(ELECTRICITY, 100_000))
    nightly, weekly, monthly = 3 * 100_000, 4 * 14_286, 3_334
    assert fleet.calls_a_night(FleetPolicy()) == fleet.naive_calls_a_night == nightly + weekly + monthly
    assert fleet.history_calls_in(Lane.FIRST_SCREEN) == 3 * 100_000
    assert fleet.history_calls_in(Lane.BACKFILL) == (2 * 4 + 4 * 3 + 1) * 100_000
    half = fleet.scaled_to(50_000)
    assert half.numbers == dict.fromkeys(ELECTRICITY, 50_000)


@given(fleets(), quotas)
def test_a_limit_a_day_is_never_exceeded_by_a_night_that_fits(fleet: Fleet, quota: QuotaBudget) -> None:
    plan = plan_fleet(fleet, quota)
    if plan.fits and quota.per_day is not None:
        assert plan.calls_a_night <= quota.per_day
    needed = quota.day_limit_for(plan.calls_a_night)
    for per_day, fits in ((needed, True), (needed - 1, False)):
        assert Plan(fleet, QuotaBudget(None, None, per_day=per_day), plan.policy).fits is fits


def test_gas_is_planned_with_its_own_limit_a_day() -> None:
    """One call a night, one every fifteen nights and one every ninety; three years' history is one call."""
    fleet = Fleet(3_000, supplier="grdf")
    plan = plan_fleet(fleet, GAS)
    assert fleet.numbers == dict.fromkeys(of_supplier("grdf"), 3_000)
    assert plan.calls_a_night == fleet.naive_calls_a_night == 3_000 + 3_000 // 15 + 34
    assert [fleet.history_calls(series) for series in fleet.numbers] == [3_000, 3_000, 3_000]
    assert (plan.fits, GAS.day_limit, GAS.night_limit) == (True, 6_000, 4_200)
    assert plan.daily_calls_by_lane == {"first_screen": 600, "nightly": 4_200, "repair": 600, "backfill": 1_566}
    assert plan.most_accounts(plan.policy) == 3_896
    assert plan.as_json()["calls_per_day"] == 6_000
    assert plan.as_json()["calls_per_day_needed"]["everything_every_night"] == 4_620


def test_a_policy_is_for_the_series_of_its_own_supplier() -> None:
    """A small quota of one supplier makes nothing of another one older."""
    slow = FleetPolicy(7, 7)
    assert [slow.every(series) for series in of_supplier("grdf")] == [1, 15, 90]
    of_gas = plan_fleet(Fleet(6_000, supplier="grdf"), GAS).policy
    assert (of_gas.daily_every, of_gas.every(Series.GAS_DAILY), of_gas.every(Series.DAILY)) == (2, 2, 1)


def test_a_plan_without_a_limit_a_day_says_nothing_of_one() -> None:
    plan = plan_fleet(Fleet(20), QuotaBudget(1_000)).as_json()
    assert not {"calls_per_day", "calls_per_day_needed"} & plan.keys()


def test_a_curve_that_is_not_there_is_looked_for_once_a_week() -> None:
    fleet = Fleet(700, without_curve=70)
    assert fleet.calls_a_night(FleetPolicy(1, 2)) == 700 + 315 + 10
