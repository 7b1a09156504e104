"""The parser of Enedis answers: it raises MalformedAnswer only, invents nothing and reads all generations alike."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import USAGE_POINT, Row, answer_2026, end_labels, v5_answer
from tests.support.strategies import bad_values, curve_days, days, good_values, json_values, many, several
from worker.domain.parsing import parse
from worker.domain.parsing.electricity import parse_daily, parse_load_curve
from worker.domain.parsing.values import ParsedAnswer
from worker.domain.series import USUAL_SERIES, Series, of_supplier
from worker.domain.windows import PARIS, DateWindow, IntervalReading, day_length, local_midnight
from worker.errors import MalformedAnswer

WINDOW = DateWindow(date(2024, 1, 1), date(2024, 2, 1))
both = st.sampled_from(of_supplier("enedis", USUAL_SERIES))


def facts_of(parsed: ParsedAnswer) -> list[tuple[datetime, int, timedelta, int]]:
    return [
        (reading.start.astimezone(UTC), reading.start.fold, reading.length, reading.amount)
        for reading in parsed.readings
    ]


def parsed_or_refused(answer: Any, series: Series) -> ParsedAnswer | None:
    """Check that any payload raises MalformedAnswer or gives valid readings."""
    try:
        parsed = parse(answer, series, WINDOW)
    except MalformedAnswer:
        return None
    starts = [reading.start.astimezone(UTC) for reading in parsed.readings]
    assert starts == sorted(set(starts))
    assert all(reading.start.tzinfo is PARIS and reading.amount >= 0 for reading in parsed.readings)
    longest = timedelta(days=3 * 366, hours=1) if series.has_intervals else timedelta(hours=25)
    assert all(timedelta() < reading.length <= longest for reading in parsed.readings)
    assert parsed.dropped >= 0
    assert parsed.differing >= 0
    return parsed


@many
@given(json_values, st.sampled_from(Series))
def test_any_json_at_all_is_read_or_refused(answer: Any, series: Series) -> None:
    parsed_or_refused(answer, series)


@many
@given(st.lists(st.dictionaries(st.sampled_from(["value", "date", "interval_length", "rank"]), json_values)), both)
def test_any_points_in_a_good_envelope_are_read_or_kept_out(points: list[Any], series: Series) -> None:
    answer = {"meter_reading": {"start": "2024-10-27", "interval_reading": points}}
    parsed = parsed_or_refused(answer, series)
    assert parsed is not None
    assert len(parsed.readings) + parsed.dropped <= len(points)


def good_answer(generation: str, series: Series) -> Any:
    rows = [[label, 300 + number, "PT30M"] for number, label in enumerate(end_labels(date(2024, 10, 27)))]
    if series is Series.DAILY:
        rows = [["2024-10-26", "10412"], ["2024-10-27", "9876"]]
    if generation == "2026":
        return answer_2026(rows, series)
    reading = v5_answer(rows, "Wh" if series is Series.DAILY else "W", start="2024-10-27")
    return reading if generation == "v5" else {"usage_point": [{"usage_point_id": USAGE_POINT, **reading}]}


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every (container, key) in a JSON value."""
    for key in list(node) if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from places(node[key])


@many
@given(st.sampled_from(["v5", "2026", "older"]), both, st.data())
def test_a_good_answer_broken_anywhere_is_read_or_refused(generation: str, series: Series, data: st.DataObject) -> None:
    answer = copy.deepcopy(good_answer(generation, series))
    whole = parse(answer, series, WINDOW)
    for _ in range(data.draw(st.integers(1, 3))):
        spots = list(places(answer))
        if not spots:
            break
        container, key = data.draw(st.sampled_from(spots))
        if data.draw(st.booleans()):
            container[key] = data.draw(json_values)
        else:
            del container[key]
    parsed = parsed_or_refused(answer, series)
    assert parsed is None or len(parsed.readings) <= len(whole.readings) + 25


@several
@given(curve_days(good_values))
def test_v5_and_2026_tell_the_same_readings(curve: tuple[date, list[Row]]) -> None:
    old = parse_load_curve(v5_answer(curve[1], "W"))
    new = parse_load_curve(answer_2026(curve[1], Series.LOAD_CURVE))
    assert facts_of(old) == facts_of(new)
    assert len(old.readings) == len(curve[1])


@several
@given(st.dictionaries(days, st.one_of(good_values, bad_values), max_size=10))
def test_v5_and_2026_tell_the_same_days(values: dict[date, Any]) -> None:
    rows = [[day.isoformat(), value] for day, value in values.items()]
    assert parse_daily(v5_answer(rows, "Wh")) == parse_daily(answer_2026(rows, Series.DAILY))


@several
@given(curve_days(), st.data())
def test_a_bad_value_takes_its_own_step_away_and_no_other(curve: tuple[date, list[Row]], data: st.DataObject) -> None:
    rows = curve[1]
    whole = facts_of(parse_load_curve(v5_answer(rows)))
    bad = data.draw(st.dictionaries(st.integers(0, len(rows) - 1), bad_values, max_size=6))
    broken = [[row[0], bad[index] if index in bad else row[1], row[2]] for index, row in enumerate(rows)]
    for answer in (v5_answer(broken), answer_2026(broken, Series.LOAD_CURVE)):
        parsed = parse_load_curve(answer)
        assert facts_of(parsed) == [fact for index, fact in enumerate(whole) if index not in bad]
        assert (parsed.dropped, parsed.differing) == (len(bad), 0)


@several
@given(st.dictionaries(days, good_values, max_size=8), st.dictionaries(days, bad_values, max_size=8))
def test_a_bad_day_has_no_reading_and_a_good_one_keeps_its_own(good: dict[date, Any], bad: dict[date, Any]) -> None:
    mixed = {**good, **bad}
    parsed = parse_daily(v5_answer([[day.isoformat(), value] for day, value in mixed.items()]))
    assert {reading.start.date() for reading in parsed.readings} == good.keys() - bad.keys()
    assert parsed.dropped == len(bad)
    for reading in parsed.readings:
        assert reading.amount == round(float(str(good[reading.start.date()]).strip()) * 1000)
        assert reading.length == day_length(reading.start.date())


@pytest.mark.parametrize("day", [date(2024, 3, 31), date(2024, 7, 1), date(2024, 10, 27)])
@pytest.mark.parametrize("minutes", [10, 30, 60])
def test_the_older_list_counts_elapsed_steps_through_clock_changes(day: date, minutes: int) -> None:
    labels = end_labels(day, minutes)
    ranked = [{"rank": str(number + 1), "value": str(100 + number)} for number in range(len(labels))]
    reading_type = {"interval_length": str(minutes * 60), "unit": "W"}
    older = {"meter_reading": {"start": day.isoformat(), "reading_type": reading_type, "interval_reading": ranked}}
    newer = v5_answer([[label, 100 + number, f"PT{minutes}M"] for number, label in enumerate(labels)])
    assert facts_of(parse_load_curve({"usage_point": [older]})) == facts_of(parse_load_curve(newer))


def test_the_older_list_counts_days_too() -> None:
    ranked = [{"rank": 1, "value": 5}, {"rank": 3, "value": 7}]
    older = {"meter_reading": {"start": "2024-10-26", "interval_reading": ranked}}
    parsed = parse_daily({"usage_point": [older]})
    assert [reading.start.date().isoformat() for reading in parsed.readings] == ["2024-10-26", "2024-10-28"]


def test_of_two_values_for_one_step_the_last_wins_and_is_counted_where_it_differs() -> None:
    rows = [["2024-06-01", "5000"], ["2024-06-01", "5000"], ["2024-06-02", "6000"], ["2024-06-02", "6100"]]
    parsed = parse_daily(v5_answer(rows))
    assert [reading.amount for reading in parsed.readings] == [5_000_000, 6_100_000]
    assert (parsed.dropped, parsed.differing) == (0, 1)


@pytest.mark.parametrize("values", [("0", "640"), ("640", "0")])
def test_a_zero_never_wins_over_a_measured_value_of_the_same_step(values: tuple[str, str]) -> None:
    parsed = parse_daily(v5_answer([["2024-06-01", value] for value in values]))
    assert [reading.amount for reading in parsed.readings] == [640_000]
    assert (parsed.dropped, parsed.differing) == (0, 1)


def test_zeros_that_pad_the_skipped_hour_of_spring_cost_no_measured_half_hour() -> None:
    labels = [f"2024-03-31 {minutes // 60:02}:{minutes % 60:02}:00" for minutes in range(30, 1440, 30)]
    labels.append("2024-04-01 00:00:00")
    rows = [[label, "0" if label[11:16] in ("02:30", "03:00") else "1000"] for label in labels]
    parsed = parse_load_curve(v5_answer(rows))
    assert sum(reading.amount for reading in parsed.readings) == 46 * 500_000
    assert all(reading.amount for reading in parsed.readings)


@pytest.mark.parametrize(
    "label",
    [None, 1, "", "2024-01-15", "2024-13-01 00:30:00", "2024-02-30 00:30:00", "2024-01-15 24:30:00", "15/01/2024 00:30",
     "2024-01-15 00:30:00.5", "1999-01-15 00:30:00", "2024-01-15 00:30:00+99:00", "2024-01-15 00:30:00 CET", ["x"]],
)  # fmt: skip
def test_a_step_without_a_usable_label_is_kept_out(label: Any) -> None:
    parsed = parse_load_curve(v5_answer([[label, "300"], ["2024-01-15 01:00:00", "400"]]))
    assert [reading.start.strftime("%H:%M") for reading in parsed.readings] == ["00:30"]
    assert parsed.dropped == 1


@pytest.mark.parametrize("label", ["2024-01-15 00:30:17", "2024-01-15T00:30:59+01:00", "2024-01-15 00:30:01"])
def test_a_label_between_minutes_is_no_end_of_a_step(label: str) -> None:
    """Its key would be that of another step, and both would be the same document."""
    parsed = parse_load_curve(v5_answer([["2024-01-15 00:30:00", "300"], [label, "400"]]))
    assert [reading.amount for reading in parsed.readings] == [150_000]
    assert parsed.dropped == 1


@pytest.mark.parametrize(
    "label", ["2024-01-15T00:30:00", "2024-01-15 00:30", "2024-01-15T00:30:00.000+01:00", "2024-01-14T23:30:00Z",
              " 2024-01-15 00:30:00 ", "2024-01-15T00:30:00+0100"]
)  # fmt: skip
def test_a_label_is_read_in_every_known_spelling(label: str) -> None:
    (reading,) = parse_load_curve(v5_answer([[label, "300"]])).readings
    assert reading == IntervalReading(local_midnight(date(2024, 1, 15)), timedelta(minutes=30), 150_000)


def test_what_was_not_asked_for_is_cut_off_and_counted() -> None:
    rows = [["2024-01-15 00:00:00", "1"], *[[label, "300"] for label in end_labels(date(2024, 1, 15))]]
    rows.append(["2024-01-16 00:30:00", "2"])
    window = DateWindow(date(2024, 1, 15), date(2024, 1, 16))
    parsed = parse_load_curve(v5_answer(rows)).clip_to(window)
    assert [reading.amount for reading in parsed.readings] == [150_000] * 48
    assert parsed.dropped == 2


@pytest.mark.parametrize("label", ["2023-04-01 12:06:20", "2023-04-01T18:30:00", "2023-04-01 00:00:20", "2023-04-01 x"])
def test_the_moment_of_a_highest_power_is_no_label_of_a_day(label: str) -> None:
    parsed = parse_daily(v5_answer([[label, "4638"], ["2023-04-02 00:00:00", "9000"]]))
    assert [reading.amount for reading in parsed.readings] == [9_000_000]
    assert parsed.dropped == 1


@pytest.mark.parametrize("step", ["PT30M", "PT60M", "1800", 3600])
def test_a_curve_without_a_unit_gives_no_day_the_watts_of_its_midnight(step: Any) -> None:
    rows = [[label, "412", step] for label in end_labels(date(2024, 1, 15))]
    parsed = parse_daily(v5_answer(rows))
    assert (list(parsed.readings), parsed.dropped) == ([], 48)


@pytest.mark.parametrize("step", [None, "", "P1D", "86400", 86_400])
def test_a_day_may_say_that_it_is_one(step: Any) -> None:
    (reading,) = parse_daily(v5_answer([["2024-01-15", "10412", step]])).readings
    assert reading.amount == 10_412_000
