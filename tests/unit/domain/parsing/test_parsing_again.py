"""Cached results of parsing: an answer is parsed alike with and without results cached from others."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given

from tests.support.factories import Row, end_labels, v5_answer
from tests.support.strategies import curve_days, several
from worker.clients.enedis.answers import ANSWER_SHAPES
from worker.domain.measures.answer_shapes import DeviationKind, find_deviations
from worker.domain.measures.readings import Series
from worker.domain.parsing import enedis, values
from worker.domain.parsing.enedis import ParsedAnswer, parse_load_curve

DAY = date(2024, 10, 27)


def forget() -> None:
    enedis._to_cached_times.cache_clear()
    values._read_energy.cache_clear()


def facts_of(parsed: ParsedAnswer) -> Any:
    steps = [(item.start.isoformat(), item.start.fold, item.length, item.milliwatt_hours) for item in parsed.readings]
    return steps, parsed.dropped, parsed.differing


@several
@given(curve_days(), curve_days())
def test_an_answer_reads_the_same_after_any_other(one: tuple[date, list[Row]], other: tuple[date, list[Row]]) -> None:
    forget()
    alone = facts_of(parse_load_curve(v5_answer(one[1])))
    parse_load_curve(v5_answer(other[1]))
    assert facts_of(parse_load_curve(v5_answer(one[1]))) == alone


@pytest.mark.parametrize("odd", [1, 1.0, True, 1800, ["PT30M"], {}, "PT7M"])
def test_an_odd_step_is_judged_by_itself(odd: Any) -> None:
    answer = v5_answer([(label, "600") for label in end_labels(DAY)])
    parse_load_curve(answer)
    answer["meter_reading"]["interval_reading"][3]["interval_length"] = odd
    after = facts_of(parse_load_curve(answer))
    forget()
    assert facts_of(parse_load_curve(answer)) == after


def test_a_bad_value_takes_no_place_of_another() -> None:
    rows = [(label, "600") for label in end_labels(DAY)]
    whole = parse_load_curve(v5_answer(rows)).readings
    parsed = parse_load_curve(
        v5_answer([(label, "-1" if place == 5 else "600") for place, (label, _) in enumerate(rows)])
    )
    assert (parsed.readings, parsed.dropped) == ([*whole[:5], *whole[6:]], 1)


def test_a_list_where_a_word_should_be_is_told() -> None:
    answer = v5_answer([(label, "600") for label in end_labels(DAY)])
    for point in answer["meter_reading"]["interval_reading"][2:]:
        point["measure_type"] = ["B"]
    deviations = [(item.kind, item.place) for item in find_deviations(answer, ANSWER_SHAPES[Series.LOAD_CURVE])]
    assert deviations == [(DeviationKind.SHAPE, "meter_reading.interval_reading[].measure_type")]
