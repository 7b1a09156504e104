"""What was drawn and what was fed in: their balance, and both in one row."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.windows import PARIS, IntervalReading
from worker.web.pages.chart_values import Span, SpanMeasures, View, measures_by_day, measures_by_step, on_one_grid
from worker.web.pages.charts import balance_of, describe_balance, rows_of_both, to_chart
from worker.web.texts import Words

JULY = Span(View.MONTH, date(2024, 7, 1))
LATER = date(2030, 1, 1)
DAYS = st.dictionaries(st.dates(date(2024, 6, 1), date(2024, 8, 31)), st.integers(0, 10**8), max_size=70)


@given(drawn=DAYS, fed=DAYS)
def test_a_balance_is_over_the_days_known_of_both(drawn: dict[date, int], fed: dict[date, int]) -> None:
    measures, others = (measures_by_day(JULY, days, LATER) for days in (drawn, fed))
    both = [day for day in JULY.days() if day in drawn and day in fed]
    balance = balance_of(measures, others)
    rows = rows_of_both(measures, others)
    if not both:
        assert balance is None
        return
    assert balance is not None and balance.days == len(both)
    assert balance.energy == sum(drawn[day] - fed[day] for day in both) == sum(row[1] or 0 for row in rows)
    known = ({day for day in days if day.month == 7} for days in (drawn, fed))
    assert balance.whole is (next(known) == next(known))


def test_a_month_of_a_year_has_a_balance_only_where_the_same_days_are_known() -> None:
    year = Span(View.YEAR, date(2024, 1, 1))
    drawn = {date(2024, 1, 1): 5, date(2024, 2, 1): 7, date(2024, 2, 2): 7}
    measures, others = (measures_by_day(year, days, LATER) for days in (drawn, dict(list(drawn.items())[:2])))
    assert rows_of_both(measures, others)[:3] == [(5, 0), (7, None), (None, None)]


def test_each_month_of_a_year_has_what_was_fed_in_also_where_the_clocks_change() -> None:
    year = Span(View.YEAR, date(2024, 1, 1))
    drawn, fed = (dict.fromkeys(year.days(), energy) for energy in (5, 3))
    rows = rows_of_both(*(measures_by_day(year, days, LATER) for days in (drawn, fed)))
    assert rows == [(3 * len(month), 2 * len(month)) for month in months_of(year)]


def months_of(year: Span) -> list[list[date]]:
    return [[day for day in year.days() if day.month == month] for month in range(1, 13)]


DAY = Span(View.DAY, date(2024, 7, 24))


def steps(minutes: int, number: int, day: date = DAY.start) -> list[IntervalReading]:
    start, length = datetime(day.year, day.month, day.day, 10, tzinfo=PARIS), timedelta(minutes=minutes)
    return [IntervalReading(start + rank * length, length, 100) for rank in range(number)]


def both(drawn: list[IntervalReading], fed: list[IntervalReading]) -> tuple[SpanMeasures, SpanMeasures]:
    return on_one_grid(*(measures_by_step(DAY, readings, {}, LATER) for readings in (drawn, fed)))


@pytest.mark.parametrize(("drawn", "fed"), [(30, 15), (15, 30), (30, 60), (60, 30), (5, 60), (30, 30)])
def test_drawn_and_fed_in_stand_on_one_grid_the_coarser(drawn: int, fed: int) -> None:
    measures, others = both(steps(drawn, 120 // drawn), steps(fed, 120 // fed))
    coarser = max(drawn, fed)
    rows = dict(zip((f"{slot.start:%H:%M}" for slot in measures.slots), rows_of_both(measures, others), strict=True))
    expected = (100 * coarser // fed, 100 * coarser // drawn - 100 * coarser // fed)
    assert [row for row in rows.values() if row != (None, None)] == [expected] * (120 // coarser)
    assert rows["10:00"] == expected and rows["09:30"] == (None, None), "a gap of both has no balance"
    assert measures.missing == others.missing == timedelta(hours=22)


def test_a_hole_in_the_day_before_takes_nothing_from_what_was_fed_in() -> None:
    before = [step for step in steps(30, 4, date(2024, 7, 23)) if step.start.minute]
    measures, others = both(steps(5, 24) + before, steps(30, 4))
    assert sum(energy or 0 for energy, _ in rows_of_both(measures, others)) == 400


def test_a_gap_within_a_longer_step_of_the_other_direction_is_told_and_has_no_balance() -> None:
    measures, others = both(steps(30, 1), steps(60, 1))
    (row,) = [row for row, slot in zip(rows_of_both(measures, others), measures.slots, strict=True) if slot.energy]
    assert row == (100, None) and (measures.missing, others.missing) == (timedelta(hours=23.5), timedelta(hours=23))
    (told,) = [
        row for row in to_chart(measures, Words("en"), DAY.start, DAY.start, fed=others).rows if row.note != "no data"
    ]
    assert (told.energy, told.fed, told.balance, told.note) == ("0.0001", "0.0001", "–", "30 min without data")


def test_a_balance_is_a_sentence_in_both_languages() -> None:
    drawn, fed = ({date(2024, 7, 1): energy} for energy in (3_000_000, 5_500_000))
    measures, others = (measures_by_day(JULY, days, LATER) for days in (drawn, fed))
    more, less, equal = (
        balance_of(one, other) for one, other in ((measures, others), (others, measures), (measures, measures))
    )
    assert more and less and equal
    english = [
        describe_balance(balance, View.MONTH, Words("en")).replace("\N{NO-BREAK SPACE}", " ")
        for balance in (more, less, equal)
    ]
    assert english == [
        "You fed in 2.50 kWh more than you drew.",
        "You drew 2.50 kWh more than you fed in.",
        "You fed in as much as you drew.",
    ]
    assert describe_balance(equal, View.DAY, Words("fr")) == "Vous avez injecté autant que vous avez prélevé."
