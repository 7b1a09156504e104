"""Base load, highest days and the need of power, beside a plain reference that counts minute by minute."""

from __future__ import annotations

import csv
import gzip
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.recordings import RECORDINGS, needs_recordings
from tests.support.strategies import many
from worker.domain.documents import Entry, shift_key
from worker.domain.totals import Peak
from worker.domain.usage import (
    SUBSCRIPTIONS,
    BaseLoad,
    find_highest_days,
    judge_power,
    lowest_by_night,
    to_base_load,
)
from worker.domain.windows import ONE_DAY, PARIS, DateWindow, local_midnight

KVA = 1_000_000
HALF_HOUR = timedelta(minutes=30)
# Ordinary nights, and those of 5 and of 7 hours.
nights = st.sampled_from([date(2024, 1, 10), date(2024, 3, 31), date(2024, 10, 27), date(2025, 3, 30)])


def plain_lowest(steps: list[Entry], day: date) -> Fraction | None:
    """Return the lowest mean power of a night, in mW, from the power of each of its minutes."""
    minute = local_midnight(day).astimezone(UTC)
    six = datetime(day.year, day.month, day.day, 6, tzinfo=PARIS).astimezone(UTC)
    powers, lengths = {}, {}
    for step in steps:
        start, length = datetime.fromisoformat(step.key), step.step or 30
        if not minute - timedelta(hours=1) <= start < six:
            continue
        for number in range(length):
            at = start + timedelta(minutes=number)
            powers[at], lengths[at] = Fraction(step.amount, length), length
    row = []
    while minute < six:
        if lengths.get(minute, 60) > 30:
            return None
        row.append(powers[minute])
        minute += timedelta(minutes=1)
    return min(sum(row[first : first + 150]) for first in range(len(row) - 149)) * 60 / 150


@st.composite
def curves(draw: st.DrawFn) -> tuple[date, list[Entry]]:
    """Draw the steps of a night, from before its midnight until after six, of one length or of several, with holes."""
    day = draw(nights)
    lengths = draw(st.sampled_from([[10], [15], [30], [60], [10, 15, 20, 30], [30, 60]]))
    minute = -draw(st.integers(0, 60))
    steps, holes = [], draw(st.sampled_from([0, 0, 0, 1]))
    midnight = f"{local_midnight(day).astimezone(UTC).isoformat()[:16]}Z"
    while minute < 8 * 60:
        length = draw(st.sampled_from(lengths))
        if not holes or draw(st.integers(0, 11)):
            key = shift_key(midnight, timedelta(minutes=minute))
            steps.append(Entry(key, draw(st.integers(0, 3_000_000)), None if length == 30 else length))
        minute += length
    return day, steps


@many
@given(curves())
def test_the_lowest_power_of_a_night_is_that_of_its_minutes(curve: tuple[date, list[Entry]]) -> None:
    day, steps = curve
    expected = plain_lowest(steps, day)
    found = lowest_by_night(steps, DateWindow(day, day + ONE_DAY))
    assert found == ({} if expected is None else {day: expected})


@needs_recordings
@pytest.mark.rest
def test_a_recorded_home_has_the_base_load_that_its_minutes_tell() -> None:
    with gzip.open(RECORDINGS / "household_a.load_curve.csv.gz", "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["watts"]][-2400:]  # Fifty days.
    ends = [datetime.fromisoformat(row["date_end_local"]) for row in rows]
    keys = [shift_key(f"{end.astimezone(UTC).isoformat()[:16]}Z", -HALF_HOUR) for end in ends]
    steps = [Entry(key, 500 * int(row["watts"])) for key, row in zip(keys, rows, strict=True)]
    window = DateWindow(ends[0].date() + ONE_DAY, ends[-1].date())
    lowest = lowest_by_night(steps, window)
    assert lowest == {day: power for day in window.dates() if (power := plain_lowest(steps, day)) is not None}
    month = {day: power for day, power in lowest.items() if day >= window.end - 30 * ONE_DAY}
    assert (base := to_base_load(month)) and 0 < base.watts < 500 and base.nights == len(month)


def test_the_base_load_is_the_median_of_at_least_twenty_nights() -> None:
    powers = {date(2024, 1, 1) + rank * ONE_DAY: Fraction(63_000) for rank in range(19)}
    assert to_base_load(powers) is None
    assert to_base_load(powers | {date(2024, 2, 1): Fraction(900_000)}) == BaseLoad(63, 20, 552)  # 63 W, 8 766 hours.
    half_up = dict.fromkeys(powers, Fraction(62_500)) | {date(2024, 2, 1): Fraction(62_500)}
    assert to_base_load(half_up) == BaseLoad(63, 20, 552)


@many
@given(st.lists(st.integers(0, 40_000), min_size=300, max_size=366), st.integers(0, 3))
def test_the_highest_days_are_a_tenth_and_no_other_day_is_above_them(amounts: list[int], shown: int) -> None:
    days = {date(2023, 7, 1) + rank * ONE_DAY: amount for rank, amount in enumerate(amounts)}
    found = find_highest_days(days, shown)
    if len(days) < 330 or not sum(amounts):
        assert found is None
        return
    assert found and found.energy == sum(sorted(amounts)[-found.number :]) and found.total == sum(amounts)
    assert (found.known, found.number) == (len(days), len(days) // 10)
    expected = sorted(days, key=lambda day: (days[day], -day.toordinal()), reverse=True)[:shown]
    assert list(found.first) == [(day, days[day]) for day in expected]


@many
@given(st.lists(st.tuples(st.integers(1, 40 * KVA), st.sampled_from([None, 6, 9])), min_size=320, max_size=340))
def test_a_subscription_would_have_held_on_each_day_and_no_smaller_one_would(
    days: list[tuple[int, int | None]],
) -> None:
    peaks = [
        Peak(date(2024, 1, 1) + rank * ONE_DAY, None, power, kva and kva * KVA)
        for rank, (power, kva) in enumerate(days)
    ]
    found = judge_power(peaks)
    assert found
    holding = [kva for kva in SUBSCRIPTIONS if all(power <= kva * KVA for power, _ in days)]
    assert found.subscription == (min(holding, default=None) if len(days) >= 330 else None)
    assert found.near == sum(power >= Fraction(9, 10) * kva * KVA for power, kva in days if kva)
    assert found.compared == sum(kva is not None for _, kva in days) and found.known == len(days)
    assert found.highest.amount == max(power for power, _ in days)


def test_nine_tenths_of_the_subscription_are_near_and_a_little_less_is_not() -> None:
    powers = {date(2024, 1, 1): 5_400_000, date(2024, 1, 2): 5_399_999, date(2024, 1, 3): 7_000_000}
    found = judge_power([Peak(day, None, power, 6 * KVA) for day, power in powers.items()])
    assert found and (found.near, found.subscription, found.highest.day) == (2, None, date(2024, 1, 3))
    assert judge_power([]) is None
