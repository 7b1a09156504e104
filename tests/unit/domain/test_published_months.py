"""The days of a month against what was published: within one m³ they agree, beyond it is a deviation."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.gas_entries import gas_day, gas_period, recorded_days, recorded_periods
from worker.domain.consistency import compare_months, find_deviations
from worker.domain.documents import Entry
from worker.domain.totals import calendar_month

MARCH = calendar_month("2024-03")


def march(kwh_a_day: str, **details: float) -> list[Entry]:
    return [gas_day(day, kwh_a_day, **details) for day in MARCH.dates()]


@given(st.integers(1, 31), st.integers(0, 3_000_000_000), st.integers(-40_000_000, 40_000_000))
def test_a_month_agrees_within_one_cubic_metre_wherever_it_is_cut(cut: int, published: int, more: int) -> None:
    """Exact to the last amount on both sides of the border, for any reading day."""
    days = march("0", coefficient=11.42781)
    days[0] = days[0]._replace(amount=max(0, published + more))
    first, rest = gas_period(MARCH.start, f"2024-03-{cut:02}"), gas_period(f"2024-03-{cut:02}", MARCH.end)
    periods = [first._replace(amount=published // 3), rest._replace(amount=published - published // 3)]
    if cut == 1:
        periods = [rest._replace(amount=published)]
    [month] = compare_months(days, periods)
    assert (month.published, month.daily) == (published, max(0, published + more))
    assert month.allowed == 11_427_810, "the highest coefficient that is told"
    assert month.agrees == (abs(month.difference) <= 11_427_810)
    assert find_deviations(days, periods) == ([] if month.agrees else [month])


@pytest.mark.parametrize(
    "periods",
    [
        [],
        [gas_period("2024-03-01", "2024-03-31")],
        [gas_period("2024-03-02", "2024-04-01")],
        [gas_period("2024-03-01", "2024-03-03"), gas_period("2024-03-04", "2024-04-01")],
        [gas_period("2024-03-01", "2024-03-15"), gas_period("2024-03-15", "2024-04-03")],
        [gas_period("2024-02-01", "2024-08-01")],
    ],
    ids=["none", "ends early", "begins late", "a gap", "ends later", "half a year"],
)
def test_a_month_that_is_not_whole_in_what_was_published_is_compared_with_nothing(periods: list[Entry]) -> None:
    assert compare_months(march("33"), periods) == []


def test_a_month_that_lacks_a_day_is_compared_with_nothing() -> None:
    whole = [gas_period("2024-03-01", "2024-04-01", "1023")]
    assert len(compare_months(march("33"), whole)) == 1
    assert compare_months(march("33")[:-1], whole) == [], "an absent day is a gap, never a zero"


def test_without_a_coefficient_the_usual_one_counts() -> None:
    days = [day._replace(details=None) for day in march("33")]
    period = gas_period("2024-03-01", "2024-04-01", "1034")
    bare = [period._replace(details={"ends_on": "2024-04-01"})]
    assert compare_months(days, bare)[0].allowed == 11_200_000
    assert compare_months(days, bare, Decimal("10.5"))[0].agrees is False


def test_the_recorded_home_agrees_in_every_month_within_one_cubic_metre() -> None:
    """Two years of a real meter. August 2021 has a day of which there is no value, so it is compared with nothing."""
    months = compare_months(recorded_days(), recorded_periods())
    assert (len(months), months[0].key, months[-1].key) == (23, "2019-12", "2021-11")
    assert "2021-08" not in [month.key for month in months]
    assert all(month.agrees for month in months)
    assert max(abs(month.difference) for month in months) == 10_000_000
    assert sum(month.difference == 0 for month in months) == 0, "they are two series, and never the same"
