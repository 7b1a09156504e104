"""Periods of some days, as a supplier bills them: which hold where they overlap, and which days they cover."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.completeness import covered_time_by_day, interval_days, last_day_of
from worker.domain.documents import Entry, find_replaced, settle, to_document
from worker.domain.series import Doctype, Series
from worker.domain.windows import ONE_DAY, PARIS, day_length

FIRST = date(2023, 12, 1)
KWH = 1_000_000


def period(first: date, days: int, kwh: int = 0) -> Entry:
    ends_on = (first + days * ONE_DAY).isoformat()
    return Entry(first.isoformat(), (kwh or 10 * days) * KWH, details={"ends_on": ends_on})


def days_of(periods: Sequence[Entry]) -> list[date]:
    return [day for one in periods for day in interval_days(one).dates()]


@st.composite
def periods_without_overlaps(draw: st.DrawFn) -> list[Entry]:
    """Periods of any mix of lengths, some with days between them that lack, in time order."""
    at, periods = FIRST + draw(st.integers(0, 5)) * ONE_DAY, []
    for days, hole in draw(st.lists(st.tuples(st.integers(1, 40), st.sampled_from([0, 0, 0, 7])), max_size=6)):
        periods.append(period(at, days, draw(st.integers(1, 500))))
        at += (days + hole) * ONE_DAY
    return periods


@many
@given(periods_without_overlaps(), periods_without_overlaps())
def test_periods_never_overlap_and_no_covered_day_is_lost(stored: list[Entry], newcomers: list[Entry]) -> None:
    settlement = settle(newcomers, stored)
    by_key = {one.key: one for one in stored if one not in settlement.replaced}
    by_key |= {one.key: one for one in settlement.entries}
    result = days_of(list(by_key.values()))
    assert len(set(result)) == len(result)
    assert set(result) >= set(days_of(stored))


@many
@given(periods_without_overlaps(), periods_without_overlaps())
def test_what_a_killed_worker_left_is_settled_as_if_nothing_had_been(
    stored: list[Entry], newcomers: list[Entry]
) -> None:
    settlement = settle(newcomers, stored)
    early, late = (datetime(2024, 6, day, tzinfo=PARIS) for day in (1, 2))
    documents = {one.key: to_document("a", Doctype.GAS_PUBLISHED, one, early) for one in stored}
    documents |= {one.key: to_document("a", Doctype.GAS_PUBLISHED, one, late) for one in settlement.entries}
    gone = {one.key for one in find_replaced(list(documents.values()))}
    assert gone == {one.key for one in settlement.replaced}


def test_a_half_year_gives_way_to_its_months_and_never_to_one_of_them() -> None:
    half_year = period(date(2024, 1, 1), 182)
    months = [period(date(2024, month, 1), days) for month, days in enumerate((31, 29, 31, 30, 31, 30), start=1)]
    assert settle(months, [half_year]).entries == months, "the first month takes its key"
    later = period(date(2024, 1, 3), 150)
    assert settle(months, [later]).replaced == [later]
    for one in (half_year, later):
        assert settle(months[:2], [one]).entries == []


def test_a_period_covers_its_days_whatever_their_length() -> None:
    over_the_change = period(date(2024, 3, 30), 3)
    covered = covered_time_by_day(Series.GAS_PUBLISHED, [over_the_change])
    assert covered == {day: day_length(day) for day in days_of([over_the_change])}
    assert covered[date(2024, 3, 31)] == timedelta(hours=23)
    assert last_day_of(over_the_change, Series.GAS_PUBLISHED) == date(2024, 4, 1)
