"""Overlapping steps: which hold, against a model that looks at each minute."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import many
from worker.domain.documents import Entry, Settlement, find_replaced, interval_of, keep_last, settle, to_document
from worker.domain.series import Doctype
from worker.domain.windows import IntervalReading

START = datetime(2024, 7, 24, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def entry(start: int, minutes: int = 30, energy: int = 0) -> Entry:
    """Return a step that starts so many minutes after midnight; its revision tells the stored ones apart."""
    key = f"{START + start * MINUTE:%Y-%m-%dT%H:%MZ}"
    return Entry(key, energy or minutes * 1000, None if minutes == 30 else minutes)


def minutes_of(entries: Sequence[Entry]) -> list[int]:
    """Return each minute that the steps cover, as often as they do."""
    return [minute for step in entries for minute in range(*interval_of(step))]


def after(stored: Sequence[Entry], settlement: Settlement) -> list[Entry]:
    """Return what is stored when the decision is carried out."""
    by_key = {step.key: step for step in stored} | {step.key: step for step in settlement.entries}
    for gone in settlement.replaced:
        del by_key[gone.key]
    return [by_key[key] for key in sorted(by_key)]


@st.composite
def steps_without_overlaps(draw: st.DrawFn) -> list[Entry]:
    """Steps of any mix of lengths with holes, in time order."""
    steps, at = [], draw(st.sampled_from([0, 5, 15, 30]))
    for minutes, hole in draw(
        st.lists(st.tuples(st.sampled_from([5, 10, 15, 30, 60]), st.sampled_from([0, 0, 0, 30])))
    ):
        steps.append(entry(at, minutes))
        at += minutes + hole
    return steps


@st.composite
def whole_hours(draw: st.DrawFn) -> list[Entry]:
    """Four hours without a hole, each in steps of one length."""
    return [
        entry(hour * 60 + part * minutes, minutes, draw(st.integers(1, 9)) * 1000)
        for hour in range(4)
        for minutes in [draw(st.sampled_from([5, 10, 15, 30, 60]))]
        for part in range(60 // minutes)
    ]


@many
@given(steps_without_overlaps(), steps_without_overlaps())
def test_nothing_overlaps_afterwards_and_no_covered_time_is_lost(stored: list[Entry], newcomers: list[Entry]) -> None:
    settlement = settle(newcomers, stored)
    result = minutes_of(after(stored, settlement))
    assert len(set(result)) == len(result)
    assert set(result) >= set(minutes_of(stored))
    assert len(settlement.entries) + settlement.left_out == len(newcomers)


@many
@given(steps_without_overlaps(), steps_without_overlaps())
def test_twice_is_once(stored: list[Entry], newcomers: list[Entry]) -> None:
    once = after(stored, settle(newcomers, stored))
    again = settle(newcomers, once)
    assert after(once, again) == once
    assert again.replaced == []


@many
@given(whole_hours(), whole_hours())
def test_an_answer_without_holes_replaces_all_that_it_covers(stored: list[Entry], newcomers: list[Entry]) -> None:
    assert after(stored, settle(newcomers, stored)) == newcomers


@many
@given(whole_hours(), whole_hours())
def test_an_answer_that_comes_late_leaves_the_later_one_as_it_is(later: list[Entry], newcomers: list[Entry]) -> None:
    settlement = settle(newcomers, later, {step.key for step in later})
    assert (after(later, settlement), settlement.replaced) == (later, [])
    assert settlement.left_out == len(settlement.late) == len(newcomers) - len(settlement.entries)


def test_a_half_written_store_is_brought_in_order_by_the_same_answer() -> None:
    """The hour was written, and the worker was killed before the half-hour in it was removed."""
    stored, newcomers = [entry(0, 60), entry(30)], [entry(0, 60)]
    assert settle(newcomers, stored) == Settlement(newcomers, [entry(30)], {newcomers[0].key}, 0)


def test_what_only_touches_is_no_overlap() -> None:
    stored, newcomers = [entry(720, 60)], [entry(720), entry(780)]
    assert settle(newcomers, stored) == Settlement([entry(780)], [], set(), 1)


@pytest.mark.parametrize(
    "order, kept",
    [
        ([(0, 30), (30, 30), (0, 60)], [(0, 60)]),
        ([(0, 60), (0, 30), (30, 30)], [(0, 30), (30, 30)]),
        ([(0, 30), (0, 60), (30, 30)], [(0, 30), (30, 30)]),
        ([(60, 30), (0, 60)], [(0, 60), (60, 30)]),
        ([(0, 60), (30, 30)], [(0, 60)]),
        ([(0, 30), (15, 30)], [(0, 30)]),
    ],
)
def test_in_one_answer_the_last_step_wins(order: list[tuple[int, int]], kept: list[tuple[int, int]]) -> None:
    def readings(steps: list[tuple[int, int]]) -> list[IntervalReading]:
        return [IntervalReading(START + start * MINUTE, minutes * MINUTE, 1) for start, minutes in steps]

    assert keep_last(readings(order)) == readings(kept)


@pytest.mark.parametrize(
    "order, kept",
    [
        ([(0, 60, 1), (30, 30, 0)], [(0, 60, 1)]),
        ([(0, 30, 1), (30, 30, 1), (0, 60, 0)], [(0, 30, 1), (30, 30, 1)]),
        ([(0, 60, 0), (30, 30, 1)], [(30, 30, 1)]),
        ([(0, 60, 0), (0, 30, 0), (30, 30, 0)], [(0, 30, 0), (30, 30, 0)]),
    ],
)
def test_a_zero_never_wins_over_a_measured_value(
    order: list[tuple[int, int, int]], kept: list[tuple[int, int, int]]
) -> None:
    def readings(steps: list[tuple[int, int, int]]) -> list[IntervalReading]:
        return [IntervalReading(START + start * MINUTE, minutes * MINUTE, energy) for start, minutes, energy in steps]

    assert keep_last(readings(order)) == readings(kept)


@many
@given(steps_without_overlaps(), steps_without_overlaps())
def test_a_half_written_store_is_settled_as_if_nothing_had_been(stored: list[Entry], newcomers: list[Entry]) -> None:
    """A worker was killed when the newcomers were written, before anything was removed."""
    settlement = settle(newcomers, stored)
    by_key = {step.key: (step, 1) for step in stored} | {step.key: (step, 2) for step in settlement.entries}
    documents = [
        to_document("home1", Doctype.MINUTE, step, START + second * timedelta(seconds=1))
        for step, second in by_key.values()
    ]
    gone = {step.key for step in find_replaced(documents)}
    assert {key for key in by_key if key not in gone} == {step.key for step in after(stored, settlement)}
