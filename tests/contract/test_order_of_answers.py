"""Three answers or files in any order, in each store: the one that was told last holds."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.crossing_answers import Answer, AskedHome, curves_with_holes, orders, whole_curves, whole_days
from tests.support.factories import NOW
from tests.support.fakes import ByDoctype
from tests.support.made_files import curve_file, importer_in_memory
from tests.support.profiles import examples
from worker.domain.series import Series


@pytest.mark.parametrize(
    "series, whole_answers",
    [(Series.LOAD_CURVE, whole_curves), (Series.DAILY, whole_days)],
    ids=["curves", "days"],
)
@settings(max_examples=examples(4, desk=2), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), orders)
def test_whole_answers_in_any_order_give_the_last_one(
    measures: ByDoctype, series: Series, whole_answers: st.SearchStrategy[Answer], data: st.DataObject, order: list[int]
) -> None:
    answers = data.draw(st.lists(whole_answers, min_size=3, max_size=3))
    asked, expected = (AskedHome(measures, series, uuid.uuid4().hex[:12]) for _ in range(2))
    arrivals = [asked.ask(answer, second) for second, answer in enumerate(answers)]
    for place in order:
        arrivals[place]()
    expected.ask(answers[2], 0)()
    assert asked.content() == expected.content()


@settings(max_examples=examples(4, desk=2), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(curves_with_holes, min_size=3, max_size=3), orders)
def test_with_holes_no_time_counts_twice(measures: ByDoctype, answers: list[Answer], order: list[int]) -> None:
    asked = AskedHome(measures, Series.LOAD_CURVE, uuid.uuid4().hex[:12])
    arrivals = [asked.ask(answer, second) for second, answer in enumerate(answers)]
    for place in order:
        arrivals[place]()
    minutes = asked.covered_minutes()
    assert len(set(minutes)) == len(minutes)


@settings(max_examples=examples(4, desk=2), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(whole_curves, min_size=3, max_size=3), orders, st.integers(0, 2))
def test_a_file_among_answers_in_any_order_gives_the_last_one(
    measures: ByDoctype, answers: list[Answer], order: list[int], place_of_file: int
) -> None:
    asked, expected = (AskedHome(measures, Series.LOAD_CURVE, uuid.uuid4().hex[:12]) for _ in range(2))
    arrivals = [asked.ask(answer, second) for second, answer in enumerate(answers)]
    importer = importer_in_memory(measures, asked.recorder)
    file = curve_file(answers[place_of_file], NOW - timedelta(hours=1) + timedelta(seconds=place_of_file))
    arrivals[place_of_file] = lambda: importer.store(file, asked.home)
    for place in order:
        arrivals[place]()
    expected.ask(answers[2], 0)()
    assert asked.content() == expected.content()
    arrivals[place_of_file]()
    assert asked.content() == expected.content(), "twice is once"
    found = importer.compare(file, asked.home)
    assert (found.days_new, found.days_same) == (0, 2) or place_of_file < 2
