"""Pretend homes are the same each time, plausible, and exact to the watt-hour."""

from __future__ import annotations

from datetime import date, timedelta
from statistics import mean

from hypothesis import given
from hypothesis import strategies as st

from simulator.electricity_homes import STEPS, PretendHome, apportion, energy_wh, regroup, rescale, step_ends
from worker.domain.windows import ONE_DAY, day_length

DAYS = st.dates(date(2015, 1, 1), date(2030, 12, 31)) | st.sampled_from([date(2024, 3, 31), date(2024, 10, 27)])
METERS = st.integers(10**13, 10**14 - 1).map(str)


@given(METERS, DAYS)
def test_a_days_curve_adds_up_to_its_daily_value(usage_point: str, day: date) -> None:
    home = PretendHome(usage_point, seed=1)
    curve = home.curve(day)
    assert len(curve) == day_length(day) // timedelta(minutes=30)
    assert energy_wh(curve) == home.daily(day)
    assert all(point.watts >= 0 and point.watts % 2 == 0 for point in curve)
    assert curve[-1].label == f"{day + ONE_DAY} 00:00:00"


@given(METERS, DAYS, st.sampled_from(STEPS), st.integers(0, 60_000))
def test_corrections_and_steps_keep_the_energy_whole(usage_point: str, day: date, step: int, wh: int) -> None:
    rescaled = rescale(PretendHome(usage_point, seed=1).curve(day), wh)
    assert energy_wh(rescaled) == wh
    regrouped = regroup(day, rescaled, step)
    assert energy_wh(regrouped) == wh
    assert [(point.end, point.label) for point in regrouped] == list(step_ends(day, step))


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_shares_are_whole_and_lose_nothing(total: int, weights: list[int]) -> None:
    shares = apportion(total, weights)
    assert (sum(shares), len(shares), min(shares) >= 0) == (total, len(weights), True)


def test_a_home_is_the_same_every_time_and_its_neighbour_another() -> None:
    day = date(2024, 5, 17)
    first, again = (PretendHome("98765432109876", seed=1).curve(day) for _ in range(2))
    assert first == again
    assert first != PretendHome("98765432109877", seed=1).curve(day)
    assert first != PretendHome("98765432109876", seed=2).curve(day)


def _year_of(home: PretendHome) -> list[int]:
    return [home.daily(date(2023, 1, 1) + rank * ONE_DAY) or 0 for rank in range(365)]


def test_households_use_what_french_households_use() -> None:
    years = [_year_of(PretendHome(f"{number:014d}", seed=1)) for number in range(60)]
    means = [mean(year) / 1000 for year in years]
    assert min(means) > 3
    assert max(means) < 30
    assert 7 < mean(means) < 14
    winter = mean(sum(year[:59]) for year in years)
    summer = mean(sum(year[181:240]) for year in years)
    assert winter > 1.2 * summer


def test_evenings_are_above_the_small_hours_and_weekend_mornings_start_later() -> None:
    curves: dict[bool, list[list[float]]] = {True: [], False: []}
    for number in range(30):
        home = PretendHome(f"{number:014d}", seed=1)
        for day in (date(2024, 5, 13) + rank * ONE_DAY for rank in range(7)):
            curves[day.weekday() >= 5].append([point.watts for point in home.curve(day)])
    workday, weekend = ([mean(curve[slot] for curve in curves[kind]) for slot in range(48)] for kind in (False, True))
    assert mean(workday[38:43]) > 1.5 * mean(workday[6:10])
    assert workday[14] > weekend[14]
    assert weekend[19] > workday[19]


def test_before_its_contract_a_home_has_nothing() -> None:
    home = PretendHome("98765432109876", seed=1)
    eve = home.activated_on - ONE_DAY
    assert (home.daily(eve), home.curve(eve)) == (None, [])
    assert home.activated_on < date(2015, 1, 1)
