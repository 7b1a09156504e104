"""The day's chart over steps of any mix of lengths: gaps are time, and only equal time is compared."""

from __future__ import annotations

from datetime import UTC, date, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import days, many
from worker.domain.windows import ONE_DAY, PARIS, IntervalReading, day_length, local_midnight
from worker.web.pages.chart_values import Span, View, day_slots, measures_by_step
from worker.web.pages.charts import _heights, _positions, to_chart, to_row
from worker.web.texts import Words

DAY = date(2024, 7, 24)
LATER = date(2030, 1, 1)
AN_HOUR = 1_200_000  # In milliwatt-hours: 1.2 kW, which every length of a step divides.
MINUTE = timedelta(minutes=1)


def steps(day: date, *lengths: int, first: int = 0) -> list[IntervalReading]:
    """Return steps of 1.2 kW that follow each other from a minute after midnight on; negative lengths are holes."""
    at, midnight = first, local_midnight(day).astimezone(UTC)
    readings = []
    for length in lengths:
        if length > 0:
            start = (midnight + at * MINUTE).astimezone(PARIS)
            readings.append(IntervalReading(start, length * MINUTE, AN_HOUR * length // 60))
        at += abs(length)
    return readings


@st.composite
def two_days(draw: st.DrawFn, day: date) -> tuple[list[IntervalReading], list[IntervalReading]]:
    """The day before and the day, in a mix of steps and holes; the last step may reach into the next day."""
    hours = st.sampled_from([[5] * 12, [10] * 6, [15] * 4, [30] * 2, [60], [-60], [30, -30], [-15, 45], [-30, 60]])
    first, both = 0, list[list[IntervalReading]]()
    for each in (day - ONE_DAY, day):
        first += draw(st.sampled_from([0, 0, 30]))
        number = -(-(day_length(each) // MINUTE - first) // 60)
        drawn = draw(st.lists(hours, min_size=number, max_size=number))
        within = steps(each, *(length for hour in drawn for length in hour), first=first)
        both.append([reading for reading in within if reading.start.date() == each])
        end = local_midnight(each + ONE_DAY).astimezone(UTC)
        first = max((reading.start.astimezone(UTC) + reading.length - end for reading in both[-1]), default=-MINUTE)
        first = max(0, first // MINUTE)
    return both[0], both[1]


@many
@given(st.data(), days)
def test_slots_are_the_whole_day_and_every_step_is_in_one(data: st.DataObject, day: date) -> None:
    before, current = data.draw(two_days(day))
    slots = day_slots(day, [*before, *current])
    assert sum((slot.length for slot in slots), timedelta()) == day_length(day)
    ends = [slot.start.astimezone(UTC) + slot.length for slot in slots]
    assert slots[0].start == local_midnight(day)
    assert all(end == slot.start.astimezone(UTC) for end, slot in zip(ends, slots[1:], strict=False))
    assert sum(slot.energy or 0 for slot in slots) == sum(reading.amount for reading in current)
    covered = {
        reading.start.astimezone(UTC) + minute * MINUTE
        for reading in [*before, *current]
        for minute in range(reading.length // MINUTE)
    }
    for slot in slots:
        inside = {slot.start.astimezone(UTC) + minute * MINUTE for minute in range(slot.length // MINUTE)}
        assert inside <= covered if not slot.gap else not inside & covered
        if slot.energy is not None and slot.before is not None:
            assert slot.energy == slot.before, "the same power on both days, over the same time"


# Today's steps, those of the day before, and nothing else: both days are of 1.2 kW throughout.
SAME_ENERGY = {
    "16 x 30 + 16 x 60 / 48 x 30": ([30] * 16 + [60] * 16, [30] * 48),
    "8 x 30 + 20 x 60 / 48 x 30": ([30] * 8 + [60] * 20, [30] * 48),
    "24 x 60 / 48 x 30": ([60] * 24, [30] * 48),
    "48 x 30 / 24 x 60": ([30] * 48, [60] * 24),
    "288 x 5 / 48 x 30": ([5] * 288, [30] * 48),
}


@pytest.mark.parametrize("name", SAME_ENERGY)
def test_the_same_energy_in_other_steps_is_as_much_and_has_no_gap(name: str) -> None:
    today, before = SAME_ENERGY[name]
    shown = measures_by_step(Span(View.DAY, DAY), [*steps(DAY, *today), *steps(DAY - ONE_DAY, *before)], {}, LATER)
    assert (shown.total, shown.gaps, shown.curve) == (24 * AN_HOUR, 0, 24 * AN_HOUR)
    assert shown.comparison is not None and shown.comparison.whole
    assert (shown.comparison.energy, shown.comparison.before) == (24 * AN_HOUR, 24 * AN_HOUR)
    assert {_heights(slot, View.DAY) for slot in shown.slots} == {(1.2, 1.2)}, "equal power is equally high"
    widths = [round(width, 6) for _, width in _positions(shown, 0, 240)]
    assert widths == [round(slot.length / ONE_DAY * 240, 6) for slot in shown.slots]


def test_hours_that_begin_at_half_past_have_one_gap_and_none_at_midnight() -> None:
    today, before = steps(DAY, *[60] * 24, first=30), steps(DAY - ONE_DAY, *[30] * 48)
    shown = measures_by_step(Span(View.DAY, DAY), [*today, *before], {}, LATER)
    assert (shown.missing, shown.gaps) == (timedelta(minutes=30), 1)
    assert shown.comparison is not None and shown.comparison.energy == shown.comparison.before == 23 * AN_HOUR
    last = shown.slots[-1]
    assert (last.length, last.overhang, _heights(last, View.DAY)[0]) == (timedelta(minutes=30),) * 2 + (1.2,)
    assert to_row(last, View.DAY, Words("en"), 4).label == "23:30 – 00:30"
    tomorrow = measures_by_step(Span(View.DAY, DAY + ONE_DAY), today, {}, LATER).slots[0]
    assert tomorrow.carried and not tomorrow.gap
    assert to_row(tomorrow, View.DAY, Words("en"), 4).note == "counted with the day before"


def test_a_hole_is_told_as_time_and_cut_through_no_comparison() -> None:
    today, before = steps(DAY, *[30] * 21, -90, *[30] * 24), steps(DAY - ONE_DAY, *[60] * 24)
    shown = measures_by_step(Span(View.DAY, DAY), [*today, *before], {}, LATER)
    chart = to_chart(shown, Words("en"), DAY - ONE_DAY, DAY)
    assert chart.notes == ["1 h 30 min of data is missing on this day (hatched)."]
    assert chart.summary.comparison == "About the same as the day before (22 h compared)"
    assert [slot.before for slot in shown.slots if slot.gap] == [None, AN_HOUR]


def test_a_daily_value_that_differs_from_the_whole_curve_is_told() -> None:
    today = steps(DAY, *[30] * 48)
    for value, told in ((25 * AN_HOUR, True), (24 * AN_HOUR, False), (24 * AN_HOUR + 999, False)):
        shown = measures_by_step(Span(View.DAY, DAY), today, {DAY: value}, LATER)
        notes = to_chart(shown, Words("en"), DAY, DAY).notes
        assert any("its curve adds up to 28.8" in note for note in notes) is told


def test_labels_of_a_day_follow_each_other_in_the_autumn_night() -> None:
    slots = day_slots(date(2024, 10, 27), steps(date(2024, 10, 27), *[30] * 4, 60, 60, *[30] * 42))
    moments = [slot.start.astimezone(UTC) for slot in slots]
    assert all(first < second for first, second in pairwise(moments))
    assert [slot.repeated for slot in slots[4:6]] == [False, True]
