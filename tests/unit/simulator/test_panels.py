"""Homes with panels feed in by the sun, and exactly to the watt-hour."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise
from statistics import mean

from hypothesis import given
from hypothesis import strategies as st

from simulator.electricity_homes import STEPS, PretendHome, clearness, energy_wh
from simulator.electricity_meters import Meter
from simulator.switches import MeterSwitches
from tests.support.enedis_caller import HOME, SimulatorCaller, points
from tests.unit.simulator.test_households import DAYS, METERS
from worker.domain.series import Direction
from worker.domain.windows import ONE_DAY, PARIS, day_length

PANELS = st.integers(100, 36_000)


@given(METERS, DAYS, PANELS, st.sampled_from(STEPS))
def test_a_days_production_adds_up_to_its_daily_value(usage_point: str, day: date, panels_wp: int, step: int) -> None:
    home = PretendHome(usage_point, seed=1, panels_wp=panels_wp)
    curve = Meter(home, MeterSwitches(step=step), day).curve(day, Direction.PRODUCTION)
    assert len(curve) == day_length(day) // timedelta(minutes=step)
    assert energy_wh(curve) == home.production(day)
    assert all(point.watts >= 0 for point in curve)
    assert energy_wh(curve) > 0


@given(METERS, DAYS, PANELS)
def test_there_is_no_production_at_night(usage_point: str, day: date, panels_wp: int) -> None:
    """The hours are those at which the sun is down all over France; in winter there are more of them."""
    night = {23, 0, 1, 2, 3, 4} | ({17, 18, 19, 20, 21, 22, 5, 6, 7} if day.month == 12 else set())
    for point in PretendHome(usage_point, seed=1, panels_wp=panels_wp).production_curve(day):
        start = (point.end - timedelta(minutes=point.minutes)).astimezone(PARIS)
        if start.hour in night - {17}:
            assert point.watts == 0, point


def test_zeros_at_night_are_sent_as_zeros(supplier: SimulatorCaller) -> None:
    supplier.switch(panels_wp=3_000)
    for generation in ("v4", "v5", "2026"):
        curve = points(supplier.request_measures(series="production_curve", generation=generation))
        assert len(curve) == 48
        assert curve[0] == ("2024-11-01 00:30:00", "0")
        assert max(int(watts) for _, watts in curve) > 100


def test_the_sun_does_not_go_by_the_clock() -> None:
    """On both days of a clock change the production follows that of the day before, half-hour by half-hour in UTC."""
    home = PretendHome(HOME, seed=1, panels_wp=5_000)
    for change in (date(2024, 3, 31), date(2024, 10, 27)):
        begins = []
        for day in (change - ONE_DAY, change):
            begins.append(next(point.end.time() for point in home.production_curve(day) if point.watts))
        assert abs(begins[0].hour * 60 + begins[0].minute - begins[1].hour * 60 - begins[1].minute) <= 30


def test_panels_make_what_french_panels_make() -> None:
    home = PretendHome(HOME, seed=1, panels_wp=1_000)
    year = [home.production(date(2023, 1, 1) + rank * ONE_DAY) or 0 for rank in range(365)]
    assert 700_000 < sum(year) < 1_400_000
    assert mean(year[150:240]) > 2.5 * mean([*year[:45], *year[320:]])
    assert max(year) > 3 * min(year[150:240])


def test_clouds_come_in_spells() -> None:
    light = [clearness(date(2023, 1, 1) + rank * ONE_DAY) for rank in range(365)]
    overall = mean(light)
    assert 0.1 <= min(light) <= max(light) <= 1
    same_side = sum((today > overall) == (tomorrow > overall) for today, tomorrow in pairwise(light))
    assert same_side > 0.55 * 364


def test_one_home_in_eight_or_so_has_panels_and_a_switch_decides_for_one() -> None:
    homes = [PretendHome(f"{number:014d}", seed=1) for number in range(400)]
    assert 30 <= sum(home.feeds_in for home in homes) <= 70
    assert PretendHome(HOME, seed=1, panels_wp=3_000).feeds_in
    assert not PretendHome(HOME, seed=1, panels_wp=0).feeds_in
    assert PretendHome(HOME, seed=1, panels_wp=3_000).curve(date(2024, 5, 1)) == PretendHome(HOME, seed=1).curve(
        date(2024, 5, 1)
    )
