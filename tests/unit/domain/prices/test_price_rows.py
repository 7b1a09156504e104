"""Dated prices: the price of a day, and rows that leave a gap or overlap."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.prices import Price, find_misfit, find_price
from worker.domain.windows import ONE_DAY

FIRST = date(2025, 1, 1)


def row(first: int, last: int | None) -> Price:
    """Return a price of these days of the year, which are counted from 0."""
    until = None if last is None else FIRST + last * ONE_DAY
    return Price(FIRST + first * ONE_DAY, until, {"base": Decimal("0.2")})


@given(st.lists(st.tuples(st.integers(0, 30), st.none() | st.integers(0, 30)), max_size=5))
@many
def test_rows_fit_exactly_where_each_day_from_the_first_to_the_last_has_one_price(
    spans: list[tuple[int, int | None]],
) -> None:
    rows = sorted((row(*span) for span in spans), key=lambda price: price.first)
    ends = [40 if last is None else last for _, last in spans]
    days = [day for (first, _), end in zip(spans, ends, strict=True) for day in range(first, end + 1)]
    expected = list(range(min(days), max(days) + 1)) if days else []
    empty = any(first > end for (first, _), end in zip(spans, ends, strict=True))
    assert (find_misfit(rows) is None) is (sorted(days) == expected and not empty)


@given(st.lists(st.integers(1, 9), max_size=6), st.booleans())
@many
def test_each_day_has_the_price_of_its_row_and_other_days_have_none(lengths: list[int], is_open: bool) -> None:
    starts = [sum(lengths[:number]) for number in range(len(lengths))]
    rows = [row(start, start + length - 1) for start, length in zip(starts, lengths, strict=True)]
    if is_open and rows:
        rows[-1] = row(starts[-1], None)
    for day in range(-2, 60):
        holding = [
            price for price, start, length in zip(rows, starts, lengths, strict=True) if start <= day < start + length
        ]
        if is_open and rows and day >= starts[-1]:
            holding = [rows[-1]]
        assert find_price(rows, FIRST + day * ONE_DAY) is (holding[0] if holding else None)


@pytest.mark.parametrize(
    ("rows", "misfit"),
    [
        ([row(0, 9), row(9, 12)], "2025-01-10 has two prices: those from 2025-01-01 and from 2025-01-10 on"),
        ([row(0, None), row(9, 12)], "2025-01-10 has two prices: those from 2025-01-01 and from 2025-01-10 on"),
        ([row(0, 9), row(0, 9)], "2025-01-01 has two prices: those from 2025-01-01 and from 2025-01-01 on"),
        ([row(0, 9), row(12, None)], "the days from 2025-01-11 to 2025-01-12 are missing"),
        ([row(5, 3)], "the price from 2025-01-06 on ends before it begins, on 2025-01-04"),
    ],
)
def test_a_misfit_names_its_days(rows: list[Price], misfit: str) -> None:
    assert find_misfit(rows) == misfit


def test_a_price_of_one_day_fits() -> None:
    assert find_misfit([row(0, 4), row(5, 5), row(6, None)]) is None
