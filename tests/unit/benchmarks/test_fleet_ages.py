"""What ``benchmarks/fleet.py`` counts of each account: ages, look-backs asked twice, days between two of them."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.simulated.ages import Ages, Ids
from worker.domain.measures.readings import Series

TODAY = date(2024, 7, 25)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=200))
def test_ages_by_percentile_are_those_of_the_sorted_list(ages: list[int]) -> None:
    kept = Ages(Series.DAILY, len(ages))
    for place, age in enumerate(ages):
        kept.reached(place, TODAY.toordinal() - age)
    ordered = sorted(ages)
    told = {f"p{rank}": ordered[-(-len(ages) * rank // 100) - 1] for rank in (50, 90, 99)}
    assert kept.at(TODAY) == {**told, "max": ordered[-1]}


@pytest.mark.parametrize(("nights_between", "lost"), [(1, 0), (7, 0), (9, 2)])
def test_days_that_no_look_back_reaches_are_counted(nights_between: int, lost: int) -> None:
    kept = Ages(Series.LOAD_CURVE, 1)
    kept.begin(0, TODAY)
    later = TODAY + timedelta(days=nights_between)
    kept.looked_back(0, later, later, later.toordinal() - 1)
    assert (kept.days_lost, kept.doubled) == (lost, 0)


def test_a_night_that_asks_twice_is_counted() -> None:
    kept = Ages(Series.DAILY, 1)
    for _ in range(2):
        kept.looked_back(0, TODAY, TODAY, TODAY.toordinal() - 1)
    assert (kept.asked, kept.doubled) == (2, 1)


def test_ids_are_found_at_their_place_in_order() -> None:
    made = [f"{letter}{number:011d}" for number in range(50) for letter in "zak"]
    ids = Ids(made)
    assert [ids[ids.place(each)] for each in made] == made
    assert list(ids) == sorted(made)
