"""The answer that was asked for last holds, in whatever order answers arrive (rules K5 and K6)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.crossing_answers import (
    DAY,
    TWO_DAYS,
    Answer,
    AskedHome,
    curves_with_holes,
    orders,
    whole_curves,
    whole_days,
)
from tests.support.factories import memory_measures
from tests.support.interleaving import Turns
from tests.support.strategies import many, several
from worker.domain.series import Series
from worker.domain.windows import ONE_DAY, DateWindow

DAILY, CURVE = Series.DAILY, Series.LOAD_CURVE


def home(series: Series) -> AskedHome:
    return AskedHome(memory_measures(), series)


def arrive(asked: AskedHome, answers: list[Answer], order: list[int]) -> AskedHome:
    arrivals = [asked.ask(answer, second) for second, answer in enumerate(answers)]
    for place in order:
        arrivals[place]()
    return asked


@several
@given(st.lists(whole_curves, min_size=3, max_size=3), orders)
def test_whole_curves_in_any_order_give_the_last_one(answers: list[Answer], order: list[int]) -> None:
    assert arrive(home(CURVE), answers, order).content() == arrive(home(CURVE), answers[2:], [0]).content()


@many
@given(st.lists(whole_days, min_size=3, max_size=3), orders)
def test_whole_days_in_any_order_give_the_last_one(answers: list[Answer], order: list[int]) -> None:
    assert arrive(home(DAILY), answers, order).content() == arrive(home(DAILY), answers[2:], [0]).content()


@several
@given(st.lists(curves_with_holes, min_size=3, max_size=3), orders)
def test_with_holes_nothing_overlaps_and_no_time_is_lost(answers: list[Answer], order: list[int]) -> None:
    asked, covered = home(CURVE), set[int]()
    arrivals = [asked.ask(answer, second) for second, answer in enumerate(answers)]
    for place in order:
        arrivals[place]()
        minutes = asked.covered_minutes()
        assert len(set(minutes)) == len(minutes)
        assert covered <= set(minutes)
        covered = set(minutes)


@pytest.mark.parametrize("seconds", [(0, 0.2, 0.4), (0, 1, 2)])
def test_a_confirmation_that_writes_nothing_holds_against_an_older_answer(seconds: tuple[float, float, float]) -> None:
    asked = home(DAILY)
    first, older, confirmation = (
        asked.ask({DAY: watt_hours}, second, DateWindow(DAY, DAY + ONE_DAY))
        for watt_hours, second in zip((31_200, 24_000, 31_200), seconds, strict=True)
    )
    first()
    confirmation()
    older()
    assert asked.content() == arrive(home(DAILY), [{DAY: 31_200}], [0]).content()
    assert asked.recorder.days_in_doubt == {DAY}, "it is asked again all the same"


def test_a_late_reading_is_written_where_nothing_is_stored() -> None:
    asked = home(DAILY)
    older, later = asked.ask({DAY: 1, DAY + ONE_DAY: 2}, 0), asked.ask({DAY: 3}, 1)
    later()
    older()
    assert asked.content() == arrive(home(DAILY), [{DAY: 3, DAY + ONE_DAY: 2}], [0]).content()


@many
@given(st.lists(whole_days, min_size=3, max_size=3), st.lists(st.integers(0, 2), min_size=30, max_size=60))
def test_answers_that_cross_in_the_store_are_asked_for_again(answers: list[Answer], schedule: list[int]) -> None:
    """Two that are compared at the same time don't see each other, but their days are asked for again."""
    asked, measures = home(DAILY), memory_measures()
    asked.measures = measures
    Turns(schedule).run(measures, [asked.ask(answer, second) for second, answer in enumerate(answers)])
    expected = arrive(home(DAILY), answers[2:], [0]).content()
    doubtful = asked.recorder.days_in_doubt
    if doubtful:
        asked.ask(answers[2], 3, DateWindow(min(doubtful), max(doubtful) + ONE_DAY))()
    assert asked.content() == expected
    assert doubtful <= set(TWO_DAYS.dates())


AN_HOUR = 3600  # Answers arrive an hour after the second 0.
MINUTES = 60
ONE = DateWindow(DAY, DAY + ONE_DAY)


@pytest.mark.parametrize("ahead", [10, 5 * MINUTES])
def test_an_answer_of_a_clock_some_minutes_ahead_counts_in_its_order(ahead: int) -> None:
    asked = home(DAILY)
    first, older, later = (
        asked.ask({DAY: watt_hours}, second, ONE)
        for watt_hours, second in ((24_000, 0), (31_200, AN_HOUR - 2), (24_000, AN_HOUR + ahead))
    )
    first()
    later()
    older()
    assert asked.content() == arrive(home(DAILY), [{DAY: 24_000}], [0]).content()
    assert asked.recorder.days_in_doubt == {DAY}, "it is asked again all the same"


def test_an_answer_of_a_clock_far_ahead_is_stored_only_where_nothing_is_and_asked_for_again() -> None:
    asked = home(DAILY)
    right, ahead = asked.ask({DAY: 3}, 0, ONE), asked.ask({DAY: 1, DAY + ONE_DAY: 2}, AN_HOUR + 5 * MINUTES + 1)
    right()
    ahead()
    assert asked.content() == arrive(home(DAILY), [{DAY: 3, DAY + ONE_DAY: 2}], [0]).content()
    assert asked.recorder.days_in_doubt == {DAY}


def test_what_replaces_an_answer_of_a_clock_far_ahead_is_asked_for_once_more_and_then_sure() -> None:
    """Nobody knows which of both was asked for later; the next answer was."""
    asked = home(DAILY)
    asked.ask({DAY: 1}, AN_HOUR + 5 * MINUTES + 1, ONE)()
    asked.ask({DAY: 2}, 0, ONE)()
    assert asked.recorder.days_in_doubt == {DAY}
    asked.recorder.days_in_doubt.clear()
    asked.ask({DAY: 2}, 60, ONE)()
    assert asked.content() == arrive(home(DAILY), [{DAY: 2}], [0]).content()
    assert not asked.recorder.days_in_doubt
