"""Rules of the turns: which account is asked for in which night, under one policy and through changes."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.fleet.policy import MOST_NIGHTS, FleetPolicy, look_back
from worker.domain.measures.readings import Series

MONDAY = date(2026, 11, 2)

ids = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=12)
nights = st.integers(1, MOST_NIGHTS)
days = st.dates(date(2024, 1, 1), date(2030, 1, 1))
series = st.sampled_from(Series)
changes = st.lists(st.tuples(st.integers(0, 12), nights, nights), max_size=6)


def policy_of(changes: list[tuple[int, int, int]], start: date = MONDAY) -> FleetPolicy:
    """Return a policy with policies before it, each a few nights later than the last."""
    policy, since = FleetPolicy(), start
    for gap, daily_every, curve_every in changes:
        since += timedelta(days=gap)
        policy = FleetPolicy(daily_every, curve_every, since=since).after(policy)
    return policy


def asked(policy: FleetPolicy, account_id: str, of: Series, start: date, number: int) -> list[date]:
    row = [start + timedelta(days=place) for place in range(number)]
    return [day for day in row if policy.is_turn(account_id, of, day)]


@given(ids, series, days, nights, nights)
def test_each_account_is_asked_for_once_in_any_k_nights_in_a_row(
    account_id: str, of: Series, start: date, daily_every: int, curve_every: int
) -> None:
    policy = FleetPolicy(daily_every, curve_every)
    assert len(asked(policy, account_id, of, start, policy.every(of))) == 1


@pytest.mark.parametrize("every", range(1, MOST_NIGHTS + 1))
def test_every_night_has_its_even_share(every: int) -> None:
    policy, fleet = FleetPolicy(curve_every=every), [f"account-{number}" for number in range(7_000)]
    for place in range(every):
        night = MONDAY + timedelta(days=place)
        number = sum(policy.is_turn(account_id, Series.LOAD_CURVE, night) for account_id in fleet)
        assert number == pytest.approx(len(fleet) / every, rel=0.12)


@given(ids, days)
def test_without_a_policy_every_night_asks_for_everything(account_id: str, day: date) -> None:
    assert all(FleetPolicy().is_turn(account_id, of, day) for of in Series)


@given(ids, days, nights)
def test_a_curve_that_is_not_collected_is_looked_for_once_a_week_and_its_daily_values_as_ever(
    account_id: str, start: date, curve_every: int
) -> None:
    policy = FleetPolicy(curve_every=curve_every)
    week = [start + timedelta(days=place) for place in range(7)]
    assert sum(policy.is_turn(account_id, Series.LOAD_CURVE, day, curve_off=True) for day in week) == 1
    assert all(policy.is_turn(account_id, Series.DAILY, day, curve_off=True) for day in week)


@given(ids, series, changes)
def test_no_day_is_left_out_whatever_the_policy_becomes(
    account_id: str, of: Series, changes: list[tuple[int, int, int]]
) -> None:
    policy = policy_of(changes)
    turns = asked(policy, account_id, of, MONDAY - timedelta(days=20), 20 + 6 * 12 + 20)
    for earlier, later in pairwise(turns):
        assert look_back(later, of).start <= look_back(earlier, of).end


@given(ids, series, st.tuples(st.integers(0, 12), nights, nights), st.tuples(st.integers(0, 12), nights, nights))
def test_a_change_costs_an_account_one_call_more_at_most(
    account_id: str, of: Series, first: tuple[int, int, int], second: tuple[int, int, int]
) -> None:
    policy = policy_of([first, second])
    assert policy.since is not None
    plain = FleetPolicy(policy.daily_every, policy.curve_every)
    week = asked(policy, account_id, of, policy.since, 7)
    assert set(asked(plain, account_id, of, policy.since, 7)) <= set(week)
    assert len(week) <= len(asked(plain, account_id, of, policy.since, 7)) + 1


@given(ids, series, changes, st.integers(-20, 100))
def test_a_turn_that_a_night_left_out_is_known_to_the_nights_after_it(
    account_id: str, of: Series, changes: list[tuple[int, int, int]], place: int
) -> None:
    policy, day = policy_of(changes), MONDAY + timedelta(days=place)
    turn = policy.last_turn(account_id, of, day)
    assert asked(policy, account_id, of, turn, (day - turn).days + 1) == [turn]


def test_a_fleet_that_becomes_too_large_is_relieved_from_the_first_night_on() -> None:
    policy = FleetPolicy(curve_every=7, since=MONDAY).after(FleetPolicy())
    counts = Counter(
        place
        for number in range(2_100)
        for place in range(7)
        if policy.is_turn(f"account-{number}", Series.LOAD_CURVE, MONDAY + timedelta(days=place))
    )
    assert sum(counts.values()) == 2_100
    assert max(counts.values()) < 400


@given(ids, series, changes, st.integers(-20, 100))
def test_a_policy_survives_being_written_down(
    account_id: str, of: Series, changes: list[tuple[int, int, int]], place: int
) -> None:
    policy, day = policy_of(changes), MONDAY + timedelta(days=place)
    again = FleetPolicy.from_json(policy.as_json())
    assert again == policy
    assert again.is_turn(account_id, of, day) == policy.is_turn(account_id, of, day)


def test_what_held_long_ago_is_forgotten() -> None:
    policy = policy_of([(0, 1, 2), (40, 1, 3), (40, 1, 4)])
    assert policy.before == FleetPolicy(1, 3)


def test_a_policy_that_held_for_no_night_leaves_no_trace() -> None:
    once = FleetPolicy(1, 3, since=MONDAY).after(FleetPolicy())
    assert once.after(FleetPolicy(1, 7, since=MONDAY).after(FleetPolicy())) == once


@pytest.mark.parametrize("changes", [(0, 1), (1, 0), (8, 1), (1, 8)])
def test_more_than_a_week_between_two_turns_is_refused(changes: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="every 1 to 7 nights"):
        FleetPolicy(*changes)
