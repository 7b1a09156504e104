"""Months of published periods: the sum of what begins in a month, and whether that is the calendar month."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.support.gas_entries import gas_period, recorded_periods
from worker.domain.totals import months_of_intervals
from worker.domain.windows import ONE_DAY, DateWindow


@st.composite
def cuts(draw: st.DrawFn) -> list[date]:
    days = draw(st.sets(st.integers(0, 800), min_size=2, max_size=40))
    return [date(2022, 1, 1) + day * ONE_DAY for day in sorted(days)]


@given(cuts(), st.randoms())
def test_months_have_all_that_was_published_whatever_the_order(days: list[date], shuffle: Random) -> None:
    periods = [gas_period(first, end, str(number)) for number, (first, end) in enumerate(pairwise(days))]
    shuffled = sorted(periods, key=lambda _: shuffle.random())
    months = months_of_intervals(shuffled)
    assert sum(month.amount for month in months) == sum(period.amount for period in periods)
    assert sum(month.days for month in months) == (days[-1] - days[0]).days
    assert [month.key for month in months] == sorted({period.key[:7] for period in periods})


def test_a_cut_at_the_first_and_at_the_reading_makes_calendar_months() -> None:
    periods = [
        gas_period("2020-01-01", "2020-01-03", "235"),
        gas_period("2020-01-03", "2020-02-01", "3541"),
        gas_period("2020-02-01", "2020-02-03", "135"),
    ]
    january, february = months_of_intervals(periods)
    assert (january.key, january.amount, january.is_whole) == ("2020-01", 3_776_000_000, True)
    assert (february.is_whole, february.span) == (False, DateWindow(date(2020, 2, 1), date(2020, 2, 3)))


def test_a_half_year_is_no_month_and_a_gap_is_none_either() -> None:
    half_year, gap = months_of_intervals(
        [
            gas_period("2017-10-10", "2018-04-09", "22417"),
            gas_period("2019-11-01", "2019-11-03"),
            gas_period("2019-11-05", "2019-12-01"),
        ]
    )
    assert not half_year.is_whole and half_year.days == 181
    assert not gap.is_whole and gap.days == 28


def test_most_months_of_the_recorded_home_are_calendar_months() -> None:
    months = months_of_intervals(recorded_periods())
    not_whole = [month.key for month in months if not month.is_whole]
    assert not_whole == ["2017-10", "2018-04", "2018-10", "2019-02", "2019-04", "2019-05", "2019-10", "2019-11"]
