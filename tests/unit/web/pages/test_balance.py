"""What was drawn and what was fed in: their balance, and both in one row."""

from __future__ import annotations

from datetime import date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from worker.domain.windows import PARIS, IntervalReading
from worker.web.pages.chart_values import Span, View, measures_by_day, measures_by_step
from worker.web.pages.charts import balance_of, describe_balance, rows_of_both
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


def steps(day: date, minutes: int, number: int) -> list[IntervalReading]:
    start, length = datetime(day.year, day.month, day.day, 10, tzinfo=PARIS), timedelta(minutes=minutes)
    return [IntervalReading(start + rank * length, length, 100) for rank in range(number)]


def test_steps_of_another_length_stand_in_a_row_where_they_make_its_time() -> None:
    day = date(2024, 7, 24)
    span = Span(View.DAY, day)
    half_hours, quarters, hours = (
        measures_by_step(span, steps(day, minutes, number), {}, LATER)
        for minutes, number in ((30, 4), (15, 8), (60, 2))
    )
    at_ten = next(rank for rank, slot in enumerate(half_hours.slots) if slot.start.hour == 10)
    assert rows_of_both(half_hours, quarters)[at_ten] == (200, -100)
    assert rows_of_both(half_hours, hours)[at_ten] == (None, None)
    assert rows_of_both(half_hours, half_hours)[at_ten - 1] == (None, None), "a gap of both has no balance"


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
