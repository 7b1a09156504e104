"""Open days are asked for again, in as few calls as possible and within the share of the quota."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import curve_of, serving_curves, serving_days
from tests.support.strategies import several
from tests.unit.conftest import Household
from worker.domain.measures.completeness import DayState
from worker.domain.measures.messages import WindowJob
from worker.domain.measures.readings import ONE_DAY, Series
from worker.domain.measures.windows import MAX_WINDOW_DAYS, plan_repair
from worker.sync.repair import Repair


def repair_of(household: Household, published: list[WindowJob], most: int = 100, waiting: int = 0) -> Repair:
    return Repair(
        claims=household.claims,
        completeness=household.registry.completeness,
        publish=published.append,
        waiting=lambda: waiting,
        most=most,
    )


def sync_daily(household: Household, home: str, values: dict[date, int]) -> None:
    household.supplier.daily = serving_days(values)
    household.run(household.claims.manual_look_back(home, Series.DAILY))


@pytest.fixture
def holed(household: Household) -> tuple[Household, str, dict[date, int]]:
    """Return an account whose day of ten days ago never came, with the values of the other days."""
    today = household.claims.today()
    values = {today - age * ONE_DAY: 5000 for age in range(1, 31) if age != 10}
    home = household.add()
    sync_daily(household, home, values)
    return household, home, values


def test_a_day_that_came_late_is_asked_for_until_it_is_there(holed: tuple[Household, str, dict[date, int]]) -> None:
    household, home, values = holed
    hole = household.claims.today() - 10 * ONE_DAY
    published: list[WindowJob] = []
    household.at += timedelta(days=5)
    assert repair_of(household, published).run() == 1
    assert [(job["account_id"], job["start"]) for job in published] == [(home, hole.isoformat())]
    assert repair_of(household, published).run() == 0, "it is in flight"
    household.supplier.daily = serving_days(values)
    household.run(published[0])
    assert repair_of(household, published).run() == 0, "asked for today: its next turn is in a week"
    household.at += timedelta(days=7)
    assert repair_of(household, published).run() == 1
    household.supplier.daily = serving_days({**values, hole: 4000})
    household.run(published[-1])
    assert household.registry.completeness.load_ledger(home, Series.DAILY).mark_of(hole).state is DayState.COMPLETE
    household.at += timedelta(days=30)
    assert repair_of(household, published).run() == 0


def test_a_day_that_never_comes_is_absent_for_good_in_the_end(holed: tuple[Household, str, dict[date, int]]) -> None:
    household, home, values = holed
    hole = household.claims.today() - 10 * ONE_DAY
    asked = 0
    for _ in range(90):
        household.at += timedelta(days=1)
        published: list[WindowJob] = []
        asked += repair_of(household, published).run()
        for job in published:
            household.supplier.daily = serving_days(values)
            household.run(job)
    assert asked == 8
    assert household.registry.completeness.load_ledger(home, Series.DAILY).mark_of(hole).state is DayState.ABSENT


def test_a_curve_that_nobody_has_switched_on_takes_no_call_until_one_comes(household: Household) -> None:
    """Otherwise it would take nine calls a day and account while its days are open."""
    today, home = household.claims.today(), household.add()
    sync_daily(household, home, {today - age * ONE_DAY: 5000 for age in range(1, 31)})
    household.run(household.claims.manual_look_back(home, Series.LOAD_CURVE))
    household.at += timedelta(days=2)
    published: list[WindowJob] = []
    assert repair_of(household, published).run() == 0
    switched_on = household.claims.today() - ONE_DAY
    household.supplier.curve = serving_curves({switched_on: curve_of(switched_on, 100)})
    household.run(household.claims.manual_look_back(home, Series.LOAD_CURVE))
    household.at += timedelta(days=9)
    assert repair_of(household, published).run() == 1, "the days before may come late after all"


def test_no_more_is_published_than_the_share_lets_wait(household: Household) -> None:
    today = household.claims.today()
    for number in range(11, 16):
        sync_daily(household, household.add(number), {today - ONE_DAY: 5000})
    household.at += timedelta(days=5)
    published: list[WindowJob] = []
    assert repair_of(household, published, most=4, waiting=2).run() == 2
    assert repair_of(household, published, most=4, waiting=4).run() == 0
    assert repair_of(household, published, most=100).run() == 3


days_wanted = st.sets(st.dates(date(2024, 1, 1), date(2024, 3, 31)), max_size=20)


@several
@given(days_wanted, st.sampled_from([*MAX_WINDOW_DAYS.values()]))
def test_the_windows_of_a_repair_hold_every_day_and_none_is_too_long(days: set[date], longest: int) -> None:
    windows = plan_repair(days, longest)
    assert all(window.days <= longest for window in windows)
    assert all(any(window.start <= day < window.end for window in windows) for day in days)
    assert all(later.start >= earlier.end for later, earlier in pairwise(windows))
