"""Three generations of answers give the same kind of row; any other answer is refused."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.factories import USAGE_POINT, answer_2026, v5_answer
from worker.domain.parsing.values import RawRow, open_envelope
from worker.domain.series import Series
from worker.errors import MalformedAnswer

ROW = {"value": "412", "date": "2024-01-15 00:30:00", "interval_length": "PT30M"}


def test_each_generation_gives_the_same_rows() -> None:
    rows = [["2024-01-15 00:30:00", "412", "PT30M"], ["2024-01-15 01:00:00", None, "PT60M"]]
    expected = [RawRow(value=value, label=label, step=step) for label, value, step in rows]
    for answer in (v5_answer(rows, "W"), answer_2026(rows, Series.LOAD_CURVE)):
        assert open_envelope(answer, Series.LOAD_CURVE) == expected


def test_a_gateway_s_answer_without_its_envelope_is_read() -> None:
    relayed = v5_answer([["2024-01-15", "10412"]], "Wh")["meter_reading"]
    assert open_envelope(relayed, Series.DAILY) == [RawRow("10412", "2024-01-15", None)]


def test_the_older_list_counts_its_steps_from_the_start() -> None:
    meter_reading = {
        "start": "2024-01-15",
        "reading_type": {"interval_length": "1800", "unit": "W"},
        "interval_reading": [{"rank": "49", "value": "200"}],
    }
    entry = {"usage_point_id": USAGE_POINT, "meter_reading": meter_reading}
    for usage_point in ([entry], entry):
        assert open_envelope({"usage_point": usage_point}, Series.LOAD_CURVE) == [
            RawRow("200", None, "1800", "49", "2024-01-15")
        ]


@pytest.mark.parametrize(
    "answer",
    [
        {"meter_reading": {}},
        {"meter_reading": {"interval_reading": None}},
        {"meter_reading": {"interval_reading": []}},
        {"usage_point": []},
        {"usage_point": None},
        {"grandeur": []},
        {"idPrm": USAGE_POINT},
        {"grandeur": [{"grandeurMetier": "CONS", "grandeurPhysique": "PA", "points": None}]},
        {"grandeur": [{"grandeurMetier": "PROD", "grandeurPhysique": "PA", "unite": "kW", "points": [{"v": "1"}]}]},
        {"grandeur": [{"grandeurMetier": "CONS", "grandeurPhysique": "EA", "unite": "Wh", "points": [{"v": "1"}]}]},
    ],
)
def test_an_answer_without_points_of_ours_has_no_rows(answer: Any) -> None:
    assert open_envelope(answer, Series.LOAD_CURVE) == []


@pytest.mark.parametrize(
    "answer",
    [
        None,
        True,
        3,
        "text",
        [],
        [ROW],
        {},
        {"error": "no_data_found"},
        {"meter_reading": None},
        {"meter_reading": [ROW]},
        {"meter_reading": {"interval_reading": ROW}},
        {"meter_reading": {"interval_reading": [ROW, None]}},
        {"meter_reading": {"interval_reading": "PT30M"}},
        {"meter_reading": {"reading_type": "W", "interval_reading": [ROW]}},
        {"usage_point": "98765432109876"},
        {"usage_point": [{"usage_point_id": USAGE_POINT}]},
        {"grandeur": {"points": []}},
        {"grandeur": [{"grandeurMetier": "CONS", "grandeurPhysique": "PA", "points": {"v": "1"}}]},
    ],
)
def test_any_other_shape_is_malformed(answer: Any) -> None:
    with pytest.raises(MalformedAnswer):
        open_envelope(answer, Series.LOAD_CURVE)


@pytest.mark.parametrize("unit", ["Wh", "VA", "kW", "w", 1, {}, []])
def test_a_unit_that_is_said_must_be_the_right_one(unit: Any) -> None:
    answer = v5_answer([["2024-01-15 00:30:00", "412"]])
    answer["meter_reading"]["reading_type"] = {"unit": unit}
    with pytest.raises(MalformedAnswer, match="unit"):
        open_envelope(answer, Series.LOAD_CURVE)


def test_an_answer_that_mixes_meters_is_refused_without_naming_them() -> None:
    entries = [
        {"usage_point_id": number, "meter_reading": {"interval_reading": []}}
        for number in (USAGE_POINT, "12345678901234")
    ]
    with pytest.raises(MalformedAnswer) as caught:
        open_envelope({"usage_point": entries}, Series.LOAD_CURVE)
    assert USAGE_POINT not in str(caught.value)
