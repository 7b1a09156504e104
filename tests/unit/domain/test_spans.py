"""Sums of any days, their comparison, and years that begin on the day of a bill."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.spans import (
    LEAP_YEAR,
    SpanComparison,
    SpanSum,
    bill_year,
    compare_spans,
    same_days_before,
    split_by,
    sum_days,
)
from worker.domain.windows import ONE_DAY, DateWindow

days = st.dates(date(2019, 1, 1), date(2030, 12, 31))
spans = st.builds(lambda start, length: DateWindow(start, start + length * ONE_DAY), days, st.integers(1, 800))
bill_days = st.dates(date(LEAP_YEAR, 1, 1), date(LEAP_YEAR, 12, 31))


@st.composite
def amounts_of(draw: st.DrawFn, *of: DateWindow) -> dict[date, int]:
    """Draw the amounts of most days of the spans."""
    every = draw(st.integers(2, 9))
    rank = {day: day.toordinal() for span in of for day in span.dates()}
    return {day: number * 7919 % 30_000 for day, number in rank.items() if number % every}


def span(start: str, last: str) -> DateWindow:
    return DateWindow(date.fromisoformat(start), date.fromisoformat(last) + ONE_DAY)


@many
@given(st.data(), spans, st.sampled_from([7, 10]))
def test_sums_of_the_parts_add_up_to_that_of_the_whole(data: st.DataObject, whole: DateWindow, length: int) -> None:
    amounts, parts = data.draw(amounts_of(whole)), list(split_by(length, whole))
    assert [day for part in parts for day in part.dates()] == list(whole.dates())
    assert {len({str(day)[:length] for day in part.dates()}) for part in parts} == {1}
    sums = [sum_days(part, amounts) for part in parts]
    assert sum_days(whole, amounts) == SpanSum(sum(amounts.values()), len(amounts))
    assert tuple(map(sum, zip(*sums, strict=True))) == sum_days(whole, amounts)


@many
@given(st.data(), spans, spans, st.booleans())
def test_a_comparison_is_the_same_from_both_sides(
    data: st.DataObject, one: DateWindow, other: DateWindow, a_year_before: bool
) -> None:
    other = same_days_before(one) if a_year_before else other
    amounts = data.draw(amounts_of(one, other))
    there, back = compare_spans(one, other, amounts), compare_spans(other, one, amounts)
    assert (there is None) == (back is None)
    if there and back:
        assert (there.now, there.before, there.same_days) == (back.before, back.now, back.same_days)
        assert [-difference for difference, _ in there.changes()] == [difference for difference, _ in back.changes()]


@many
@given(st.data(), spans)
def test_the_same_days_of_two_years_are_those_known_in_both(data: st.DataObject, one: DateWindow) -> None:
    other = same_days_before(one)
    amounts = data.draw(amounts_of(one, other))
    pairs = [
        (day, twin)
        for day in one.dates()
        for twin in other.dates()
        if (day.month, day.day, day.year) == (twin.month, twin.day, twin.year + 1) and {day, twin} <= amounts.keys()
    ]
    comparison = compare_spans(one, other, amounts)
    sums = [SpanSum(sum(amounts[pair[side]] for pair in pairs), len(pairs)) for side in (0, 1)]
    assert comparison == (SpanComparison(*sums, same_days=True) if pairs else None)


@many
@given(bill_days, days)
def test_bill_years_tile_the_calendar(bill_day: date, day: date) -> None:
    year = bill_year(bill_day, day)
    assert day in year
    assert bill_year(bill_day, year.end).start == year.end
    assert bill_year(bill_day, year.start - ONE_DAY).end == year.start
    assert all(bill_year(bill_day, other) == year for other in (year.start, year.last))
    assert year.start.month == bill_day.month and year.start.day in (bill_day.day, 28)


def test_a_bill_of_29_february_begins_on_the_28th_of_other_years() -> None:
    years = [bill_year(date(LEAP_YEAR, 2, 29), date(year, 6, 1)) for year in (2023, 2024, 2025)]
    assert years == [
        span("2023-02-28", "2024-02-28"),
        span("2024-02-29", "2025-02-27"),
        span("2025-02-28", "2026-02-27"),
    ]


def test_spans_of_unequal_days_are_compared_by_the_mean_of_a_day_too() -> None:
    march, february = span("2024-03-01", "2024-03-31"), span("2024-02-01", "2024-02-29")
    amounts = dict.fromkeys(march.dates(), 11_000) | dict.fromkeys(february.dates(), 10_000)
    comparison = compare_spans(march, february, amounts)
    assert comparison == ((341_000, 31), (290_000, 29), False)
    assert list(comparison.changes()) == [(51_000, 18), (1_000, 10)]
    del amounts[date(2024, 3, 30)], amounts[date(2024, 3, 31)]
    equal = compare_spans(march, february, amounts)
    assert equal and list(equal.changes()) == [(29_000, 10)]


def test_nothing_is_compared_with_nothing_and_no_percentage_is_of_zero() -> None:
    may, june = span("2024-05-01", "2024-05-31"), span("2024-06-01", "2024-06-30")
    assert compare_spans(june, may, dict.fromkeys(june.dates(), 1_000)) is None
    free = compare_spans(june, may, {date(2024, 5, 2): 0, date(2024, 6, 2): 700})
    assert free and list(free.changes()) == [(700, None)]
