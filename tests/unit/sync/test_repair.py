"""Open days are asked for again, in the fewest calls, and no more than the share allows."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import curve_of, serving_curves, serving_days
from tests.support.strategies import some
from tests.unit.conftest import Household
from worker.domain.measures.completeness import DayState
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import ONE_DAY, Series
from worker.domain.measures.windows import MAX_WINDOW_DAYS, plan_repair
from worker.sync.repair import Repair


def repair_of(house: Household, published: list[WindowJob], most: int = 100, waiting: int = 0) -> Repair:
    return Repair(house.dispatcher, house.registry.completeness, published.append, lambda: waiting, most)


def sync_daily(house: Household, home: str, told: dict[date, int]) -> None:
    house.supplier.daily = serving_days(told)
    house.run(house.dispatcher.look_back_now(home, Series.DAILY))


@pytest.fixture
def holed(household: Household) -> tuple[Household, str, dict[date, int]]:
    """A home whose day of ten days ago never came."""
    today = household.dispatcher.today()
    told = {today - age * ONE_DAY: 5000 for age in range(1, 31) if age != 10}
    home = household.add()
    sync_daily(household, home, told)
    return household, home, told


def test_a_day_that_came_late_is_asked_for_until_it_is_there(holed: tuple[Household, str, dict[date, int]]) -> None:
    house, home, told = holed
    hole = house.dispatcher.today() - 10 * ONE_DAY
    published: list[WindowJob] = []
    house.at += timedelta(days=5)
    assert repair_of(house, published).run() == 1
    assert [(origin["account_id"], origin["start"]) for origin in published] == [(home, hole.isoformat())]
    assert repair_of(house, published).run() == 0, "it is in flight"
    house.supplier.daily = serving_days(told)
    house.run(published[0])
    assert repair_of(house, published).run() == 0, "asked for today: its next turn is in a week"
    house.at += timedelta(days=7)
    assert repair_of(house, published).run() == 1
    house.supplier.daily = serving_days({**told, hole: 4000})
    house.run(published[-1])
    assert house.registry.completeness.ledger(home, Series.DAILY).of(hole).state is DayState.COMPLETE
    house.at += timedelta(days=30)
    assert repair_of(house, published).run() == 0


def test_a_day_that_never_comes_is_absent_for_good_in_the_end(holed: tuple[Household, str, dict[date, int]]) -> None:
    house, home, told = holed
    hole = house.dispatcher.today() - 10 * ONE_DAY
    asked = 0
    for _ in range(90):
        house.at += timedelta(days=1)
        published: list[WindowJob] = []
        asked += repair_of(house, published).run()
        for origin in published:
            house.supplier.daily = serving_days(told)
            house.run(origin)
    assert asked == 8
    assert house.registry.completeness.ledger(home, Series.DAILY).of(hole).state is DayState.ABSENT


def test_a_curve_that_nobody_has_switched_on_takes_no_call_until_one_comes(household: Household) -> None:
    """It would be nine a day and account, for as long as its days stay open."""
    today, home = household.dispatcher.today(), household.add()
    sync_daily(household, home, {today - age * ONE_DAY: 5000 for age in range(1, 31)})
    household.run(household.dispatcher.look_back_now(home, Series.LOAD_CURVE))
    household.at += timedelta(days=2)
    published: list[WindowJob] = []
    assert repair_of(household, published).run() == 0
    switched_on = household.dispatcher.today() - ONE_DAY
    household.supplier.curve = serving_curves({switched_on: curve_of(switched_on, 100)})
    household.run(household.dispatcher.look_back_now(home, Series.LOAD_CURVE))
    household.at += timedelta(days=9)
    assert repair_of(household, published).run() == 1, "the days before may come late after all"


def test_no_more_is_published_than_the_share_lets_wait(household: Household) -> None:
    today = household.dispatcher.today()
    for number in range(11, 16):
        sync_daily(household, household.add(number), {today - ONE_DAY: 5000})
    household.at += timedelta(days=5)
    published: list[WindowJob] = []
    assert repair_of(household, published, most=4, waiting=2).run() == 2
    assert repair_of(household, published, most=4, waiting=4).run() == 0
    assert repair_of(household, published, most=100).run() == 3


days_wanted = st.sets(st.dates(date(2024, 1, 1), date(2024, 3, 31)), max_size=20)


@some
@given(days_wanted, st.sampled_from([*MAX_WINDOW_DAYS.values()]))
def test_the_windows_of_a_repair_hold_every_day_and_none_is_too_long(days: set[date], longest: int) -> None:
    windows = plan_repair(days, longest)
    assert all(window.days <= longest for window in windows)
    assert all(any(window.start <= day < window.end for window in windows) for day in days)
    assert all(later.start >= earlier.end for later, earlier in pairwise(windows))
