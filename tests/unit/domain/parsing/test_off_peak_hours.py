"""Off-peak hours: each form that suppliers send gives its ranges, and one text form gives the same ranges again."""

from __future__ import annotations

from datetime import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import json_values, many
from worker.domain.tariffs import format_off_peak_hours, parse_off_peak_hours

FORMS = [
    ("HC (22H00-6H00)", "HC (22H00-6H00)", [(time(22), time(6))]),
    ("HC (23h00-7h30)", "HC (23H00-7H30)", [(time(23), time(7, 30))]),
    (
        "HC (2H00-7H00;12h30-14h00)",
        "HC (2H00-7H00;12H30-14H00)",
        [(time(2), time(7)), (time(12, 30), time(14))],
    ),
    (
        "HC (1H28-6H58;13H58-16H28)",
        "HC (1H28-6H58;13H58-16H28)",
        [(time(1, 28), time(6, 58)), (time(13, 58), time(16, 28))],
    ),
    ("HC (1H30-8H00;12H30-14H00)", "HC (1H30-8H00;12H30-14H00)", [(time(1, 30), time(8)), (time(12, 30), time(14))]),
    ("hc(22H-6H)", "HC (22H00-6H00)", [(time(22), time(6))]),
    ("22H00-24H00 ; 0H00-6H00", "HC (0H00-6H00;22H00-0H00)", [(time(0), time(6)), (time(22), time(0))]),
    ("HC (12H30-14H00;2H00-7H00)", "HC (2H00-7H00;12H30-14H00)", [(time(2), time(7)), (time(12, 30), time(14))]),
]


@pytest.mark.parametrize("sent, form, ranges", FORMS)
def test_each_form_is_read_and_written_in_one(sent: str, form: str, ranges: list[tuple[time, time]]) -> None:
    assert list(parse_off_peak_hours(sent)) == ranges
    assert format_off_peak_hours(parse_off_peak_hours(sent)) == form


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "",
        22,
        "HC",
        "HC ()",
        "HC (22H00)",
        "HC (25H00-6H00)",
        "HC (22H60-6H00)",
        "HC (6H00-6H00)",
        "HC (22H00-6H00;x)",
    ],
)
def test_what_can_t_be_read_as_a_whole_gives_no_hours(sent: Any) -> None:
    assert parse_off_peak_hours(sent) == ()
    assert format_off_peak_hours(()) is None


_times = st.times().map(lambda moment: time(moment.hour, moment.minute))
_ranges = st.tuples(_times, _times).filter(lambda both: both[0] != both[1])


@many
@given(st.sets(_ranges, min_size=1, max_size=5))
def test_the_text_form_says_the_same_hours(ranges: set[tuple[time, time]]) -> None:
    text = format_off_peak_hours(tuple(ranges))
    assert list(parse_off_peak_hours(text)) == sorted(ranges)
    assert parse_off_peak_hours(str(text).lower()) == parse_off_peak_hours(text)


@many
@given(json_values | st.text("HChc ()0123456789;-,:", max_size=40))
def test_any_value_is_hours_or_none(value: Any) -> None:
    ranges = parse_off_peak_hours(value)
    text = format_off_peak_hours(ranges)
    assert parse_off_peak_hours(text) == ranges
