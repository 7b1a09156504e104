"""The figures of ``benchmarks/fleet.py`` on each account: ages, repeated look-backs, days between two of them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulated.ages import AccountIds, Ages
from worker.domain.measures.readings import Series

TODAY = date(2024, 7, 25)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=200))
def test_ages_by_percentile_are_those_of_the_sorted_list(ages: list[int]) -> None:
    fleet_ages = Ages(Series.DAILY, len(ages))
    for index, age in enumerate(ages):
        fleet_ages.record_day(index, TODAY.toordinal() - age)
    sorted_ages = sorted(ages)
    expected = {f"p{rank}": sorted_ages[-(-len(ages) * rank // 100) - 1] for rank in (50, 90, 99)}
    assert fleet_ages.percentiles_at(TODAY) == {**expected, "max": sorted_ages[-1]}


@pytest.mark.parametrize(("nights_between", "lost"), [(1, 0), (7, 0), (9, 2)])
def test_days_that_no_look_back_reaches_are_counted(nights_between: int, lost: int) -> None:
    fleet_ages = Ages(Series.LOAD_CURVE, 1)
    fleet_ages.set_first_night(0, TODAY)
    later = TODAY + timedelta(days=nights_between)
    fleet_ages.record_look_back(0, later, later, later.toordinal() - 1)
    assert (fleet_ages.days_lost, fleet_ages.doubled) == (lost, 0)


def test_a_night_that_asks_twice_is_counted() -> None:
    fleet_ages = Ages(Series.DAILY, 1)
    for _ in range(2):
        fleet_ages.record_look_back(0, TODAY, TODAY, TODAY.toordinal() - 1)
    assert (fleet_ages.look_backs, fleet_ages.doubled) == (2, 1)


def test_ids_are_found_at_their_place_in_order() -> None:
    account_ids = [f"{letter}{number:011d}" for number in range(50) for letter in "zak"]
    ids = AccountIds(account_ids)
    assert [ids[ids.index_of(account_id)] for account_id in account_ids] == account_ids
    assert list(ids) == sorted(account_ids)
