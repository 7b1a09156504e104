"""Windows of days to ask for: all missing days, in few calls, the newest first."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many, windows
from worker.domain.series import USUAL_GAS_SERIES, Series
from worker.domain.windows import (
    ONE_DAY,
    DateWindow,
    merge_windows,
    newest_wanted_day,
    plan_backfill,
    plan_history,
    plan_look_back,
    split_window,
    subtract_windows,
    to_windows,
)

TODAY = date(2024, 7, 25)


def days_of(parts: Iterable[DateWindow]) -> set[date]:
    return {part.start + number * ONE_DAY for part in parts for number in range(part.days)}


def window(start: str, end: str) -> DateWindow:
    return DateWindow(date.fromisoformat(start), date.fromisoformat(end))


def test_a_look_back_ends_with_yesterday() -> None:
    assert plan_look_back(TODAY, Series.DAILY) == window("2024-06-25", "2024-07-25")
    assert plan_look_back(TODAY, Series.LOAD_CURVE) == window("2024-07-18", "2024-07-25")


def test_the_history_is_three_years_of_daily_values_and_as_much_curve_as_wished() -> None:
    assert plan_history(TODAY, Series.DAILY, curve_days=28) == window("2021-07-26", "2024-07-25")
    assert plan_history(TODAY, Series.LOAD_CURVE, curve_days=28) == window("2024-06-27", "2024-07-25")
    assert plan_history(TODAY, Series.LOAD_CURVE, curve_days=0) is None


@pytest.mark.parametrize(
    "today, start",
    [
        ("2024-07-25", "2024-06-25"),  # 30 days.
        ("2024-07-10", "2024-06-01"),  # June may still become final.
        ("2024-07-11", "2024-06-11"),
        ("2024-03-01", "2024-01-31"),  # 30 days reach further than the last month.
        ("2024-01-03", "2023-12-01"),
    ],
)
def test_values_of_the_last_month_are_asked_for_until_they_are_final(today: str, start: str) -> None:
    assert plan_look_back(date.fromisoformat(today), Series.GAS_DAILY) == window(start, today)


def test_gas_is_asked_for_in_one_call_and_expected_some_days_later() -> None:
    assert plan_history(TODAY, Series.GAS_DAILY, curve_days=28) == window("2021-07-26", "2024-07-25")
    assert plan_history(TODAY, Series.GAS_PUBLISHED, curve_days=28) == window("2019-07-27", "2024-07-25")
    for series in USUAL_GAS_SERIES:
        history = plan_history(TODAY, series, curve_days=28)
        assert history is not None and history.days <= series.description.max_window_days
    assert newest_wanted_day(TODAY, Series.DAILY) == date(2024, 7, 24)
    assert newest_wanted_day(TODAY, Series.GAS_DAILY) == date(2024, 7, 22)
    assert [series for series in USUAL_GAS_SERIES if series.catches_up] == []


@pytest.mark.parametrize("start, end", [("2024-01-02", "2024-01-02"), ("2024-01-03", "2024-01-02")])
def test_a_window_without_a_day_is_refused(start: str, end: str) -> None:
    with pytest.raises(ValueError, match="must come before"):
        window(start, end)


@given(windows())
def test_a_window_is_written_and_read_back(one: DateWindow) -> None:
    assert DateWindow.parse(str(one)) == one


@many
@given(st.lists(windows(), max_size=8), st.randoms())
def test_merging_keeps_the_days_in_the_fewest_windows_whatever_their_order(parts, random) -> None:  # type: ignore[no-untyped-def]
    merged = merge_windows(parts)
    assert days_of(merged) == days_of(parts)
    assert all(earlier.end < later.start for earlier, later in pairwise(merged))
    assert merge_windows(merged) == merged
    assert merge_windows(random.sample(parts, len(parts))) == merged


@many
@given(windows(120), st.lists(windows(), max_size=8))
def test_subtracting_leaves_exactly_the_other_days(wanted: DateWindow, done: list[DateWindow]) -> None:
    missing = subtract_windows(wanted, done)
    assert days_of(missing) == days_of([wanted]) - days_of(done)
    assert merge_windows(missing) == missing
    assert merge_windows([*missing, *done, wanted]) == merge_windows([*done, wanted])


@many
@given(windows(200), st.lists(windows(), max_size=8), st.sampled_from([1, 2, 6, 7, 30, 365]))
def test_a_backfill_asks_for_all_that_is_missing_in_the_fewest_calls_newest_first(
    wanted: DateWindow, done: list[DateWindow], max_days: int
) -> None:
    missing = days_of([wanted]) - days_of(done)
    planned = plan_backfill(wanted, done, max_days)
    assert missing <= days_of(planned) <= days_of([wanted])
    for part in planned:
        assert part.days <= max_days
        assert {part.start, part.end - ONE_DAY} <= missing
    for newer, older in pairwise(planned):
        assert older.end <= newer.start
        assert older.end <= newer.end - timedelta(days=max_days)  # So no plan needs fewer windows.
    assert plan_backfill(wanted, [*done, *planned], max_days) == []


@many
@given(windows(400), st.integers(1, 30))
def test_splitting_keeps_every_day_once(one: DateWindow, max_days: int) -> None:
    parts = split_window(one, max_days)
    assert merge_windows(parts) == [one]
    assert sum(part.days for part in parts) == one.days
    assert max(part.days for part in parts) <= max_days


@given(st.sets(st.dates(date(2024, 1, 1), date(2024, 2, 15)), max_size=20))
def test_single_days_become_windows(single: set[date]) -> None:
    assert days_of(to_windows(single)) == single
