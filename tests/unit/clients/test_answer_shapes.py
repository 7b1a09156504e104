"""Deviations of an answer from its expected shape: named once and without values; an expected answer has none."""

from __future__ import annotations

import copy
import json
import re
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.factories import USAGE_POINT, answer_2026, calendar_2026, curve_of, registers_2026, v5_answer
from tests.support.strategies import json_values, many
from worker.clients.answer_shapes import MAX_DEVIATIONS, find_deviations
from worker.clients.suppliers import SUPPLIERS
from worker.domain.answers import MAX_CHARACTERS, Deviation, DeviationKind, to_masked, to_sample
from worker.domain.parsing import parse
from worker.domain.series import USUAL_SERIES, Series
from worker.domain.windows import ONE_DAY, DateWindow
from worker.errors import MalformedAnswer

ANSWER_SHAPES = {series: shape for supplier in SUPPLIERS.values() for series, shape in supplier.shapes.items()}
DAY = date(2024, 1, 15)
WINDOW = DateWindow(DAY, DAY + ONE_DAY)
CURVE, DAILY = Series.LOAD_CURVE, Series.DAILY


def v5_curve() -> Any:
    return v5_answer(curve_of(DAY, 300), "W", start="2024-01-15", end="2024-01-16", quality="BRUT")


def v5_days() -> Any:
    return v5_answer([["2024-01-15", "10412"], ["2024-01-16", 9876]], "Wh")


def deviations_of(answer: Any, series: Series) -> list[tuple[DeviationKind, str, str]]:
    return [
        (deviation.kind, deviation.place, deviation.detail)
        for deviation in find_deviations(answer, ANSWER_SHAPES[series])
    ]


@pytest.mark.parametrize(
    "answer, series",
    [
        (v5_curve(), CURVE),
        (v5_days(), DAILY),
        (v5_days()["meter_reading"], DAILY),
        ({"usage_point": [{"usage_point_id": USAGE_POINT, **v5_curve()}]}, CURVE),
        ({"usage_point": {"usage_point_id": USAGE_POINT, **v5_curve()}}, CURVE),
        ({"meter_reading": {"reading_type": {"interval_length": "1800"}, "interval_reading": [{"rank": "49"}]}}, CURVE),
        ({"meter_reading": {"interval_reading": []}}, DAILY),
        (
            answer_2026([["2024-01-15 00:30:00", "412", "PT30M"], ["2024-01-15 01:00:00", "null", "PT60M"]], CURVE),
            CURVE,
        ),
        ({"idPrm": USAGE_POINT, "grandeur": []}, DAILY),
    ],
)
def test_a_known_answer_holds_no_surprise(answer: Any, series: Series) -> None:
    answer = copy.deepcopy(answer)
    for item in answer.get("grandeur", []):  # The factory's other quantity has an invalid date.
        item["points"] = [point for point in item["points"] if point["d"] != "x"]
    assert deviations_of(answer, series) == []


@pytest.mark.parametrize(
    "answer, expected",
    [
        ({}, (DeviationKind.EMPTY, "answer", "object")),
        ([], (DeviationKind.EMPTY, "answer", "list")),
        ({"meter_reading": {}}, (DeviationKind.EMPTY, "meter_reading.interval_reading", "absent")),
        (
            {"meter_reading": {"interval_reading": None}},
            (DeviationKind.EMPTY, "meter_reading.interval_reading", "null"),
        ),
        ([{"value": "1"}], (DeviationKind.SHAPE, "answer", "list")),
        ("text", (DeviationKind.SHAPE, "answer", "text")),
        ({"measures": [], "id": 1}, (DeviationKind.SHAPE, "answer", "id,measures")),
        ({"meter_reading": []}, (DeviationKind.SHAPE, "meter_reading", "list")),
        (
            {"meter_reading": {"interval_reading": ["1"]}},
            (DeviationKind.SHAPE, "meter_reading.interval_reading[]", "text"),
        ),
    ],
)
def test_an_empty_or_unknown_shape_is_told(answer: Any, expected: tuple[DeviationKind, str, str]) -> None:
    assert deviations_of(answer, CURVE) == [expected]


@pytest.mark.parametrize(
    "place, value, expected",
    [
        ("flow_direction", "CONS", (DeviationKind.FIELD, "meter_reading.flow_direction", "text")),
        ("quality", "CORR", (DeviationKind.CODE, "meter_reading.quality", "CORR")),
        ("quality", 3, (DeviationKind.SHAPE, "meter_reading.quality", "number")),
        ("reading_type.unit", "kW", (DeviationKind.UNIT, "meter_reading.reading_type.unit", "kW")),
        ("reading_type.unit", 7, (DeviationKind.UNIT, "meter_reading.reading_type.unit", "number")),
        ("reading_type.aggregate", "maximum", (DeviationKind.UNIT, "meter_reading.reading_type.aggregate", "maximum")),
        ("reading_type.tariff", {}, (DeviationKind.FIELD, "meter_reading.reading_type.tariff", "object")),
        ("interval_reading.9.value", "0,412", (DeviationKind.SHAPE, "meter_reading.interval_reading[].value", "9,999")),
        ("interval_reading.9.value", True, (DeviationKind.SHAPE, "meter_reading.interval_reading[].value", "boolean")),
        (
            "interval_reading.9.date", "15/01/2024",
            (DeviationKind.SHAPE, "meter_reading.interval_reading[].date", "99/99/9999"),
        ),
        (
            "interval_reading.9.measure_type", "E",
            (DeviationKind.CODE, "meter_reading.interval_reading[].measure_type", "E"),
        ),
        (
            "interval_reading.9.interval_length", "PT7M",
            (DeviationKind.CODE, "meter_reading.interval_reading[].interval_length", "PT7M"),
        ),
        ("interval_reading.9.price", 0.2, (DeviationKind.FIELD, "meter_reading.interval_reading[].price", "number")),
    ],
)  # fmt: skip
def test_what_changed_in_one_place_is_told_with_its_place(place: str, value: Any, expected: Any) -> None:
    answer = v5_curve()
    *path, last = place.split(".")
    node = answer["meter_reading"]
    for name in path:
        node = node[int(name)] if name.isdigit() else node[name]
    node[last] = value
    assert deviations_of(answer, CURVE) == [expected]


def test_of_2026_too() -> None:
    answer = answer_2026([["2024-01-15 00:30:00", "412", "PT30M"]], CURVE)
    del answer["grandeur"][0]
    answer["grandeur"][0] |= {"unite": "kW", "grandeurMetier": "STOCK"}
    answer["grandeur"][0]["points"][0] |= {"n": "Z", "co2": 12}
    answer["version"] = "3.0"
    assert set(deviations_of(answer, CURVE)) == {
        (DeviationKind.FIELD, "version", "text"),
        (DeviationKind.UNIT, "grandeur[].unite", "kW"),
        (DeviationKind.CODE, "grandeur[].grandeurMetier", "STOCK"),
        (DeviationKind.CODE, "grandeur[].points[].n", "Z"),
        (DeviationKind.FIELD, "grandeur[].points[].co9", "number"),
    }


def test_a_new_field_in_every_point_is_one_surprise_and_stops_no_reading() -> None:
    answer = v5_curve()
    whole = parse(answer, CURVE, WINDOW)
    for number, row in enumerate(answer["meter_reading"]["interval_reading"]):
        row[f"tariff_{number}"] = "HC"
    assert deviations_of(answer, CURVE) == [(DeviationKind.FIELD, "meter_reading.interval_reading[].tariff_9", "text")]
    assert parse(answer, CURVE, WINDOW) == whole


@pytest.mark.parametrize("name, wrong", [("unit", "kW"), ("measurement_kind", "current"), ("aggregate", "maximum")])
@pytest.mark.parametrize("answer, series", [(v5_curve(), CURVE), (v5_days(), DAILY)])
def test_what_is_told_as_a_changed_unit_never_becomes_data(name: str, wrong: str, answer: Any, series: Series) -> None:
    answer = copy.deepcopy(answer)
    answer["meter_reading"]["reading_type"][name] = wrong
    assert {deviation.kind for deviation in find_deviations(answer, ANSWER_SHAPES[series])} == {DeviationKind.UNIT}
    with pytest.raises(MalformedAnswer):
        parse(answer, series, WINDOW)


@pytest.mark.parametrize("answer", [None, {}, [], "", 0, {"a": 1}, [[]]])
@pytest.mark.parametrize("series", Series)
def test_what_is_no_answer_is_both_told_and_refused(answer: Any, series: Series) -> None:
    assert len(find_deviations(answer, ANSWER_SHAPES[series])) == 1
    with pytest.raises(MalformedAnswer):
        parse(answer, series, WINDOW)


@many
@given(json_values, st.sampled_from(USUAL_SERIES))
def test_any_json_at_all_is_looked_at_and_no_value_gets_into_a_text(answer: Any, series: Series) -> None:
    deviations = find_deviations(answer, ANSWER_SHAPES[series])
    assert len(deviations) <= MAX_DEVIATIONS
    assert len({deviation.fingerprint for deviation in deviations}) == len(deviations)
    sample = to_sample(answer)
    assert len(sample) <= MAX_CHARACTERS
    to_masked(sample)


@many
@given(st.text("0123456789", min_size=14, max_size=14), st.sampled_from(["value", "quality", "who", "date"]))
def test_a_meter_number_anywhere_is_in_no_text_and_no_sample(meter: str, name: str) -> None:
    answer = v5_curve()
    answer["meter_reading"][meter] = meter
    answer["meter_reading"]["quality"] = meter
    for row in answer["meter_reading"]["interval_reading"][::7]:
        row[name] = int(meter) if name == "value" else meter
    answer["meter_reading"]["usage_point_id"] = meter
    deviations = find_deviations(answer, ANSWER_SHAPES[CURVE])
    texts = "".join(f"{item!r}{item.place}{item.detail}" for item in deviations) + to_sample(answer)
    assert deviations
    assert meter not in texts or meter == "0" * 14
    masked = json.dumps(to_masked(to_sample(answer)))
    assert not re.search(r"[0-8]", masked.replace("a9", ""))


def test_a_sample_keeps_one_point_of_each_form() -> None:
    answer = v5_curve()
    answer["meter_reading"]["interval_reading"][40]["price"] = 0.2
    sample = json.loads(to_sample(answer))
    assert len(sample["meter_reading"]["interval_reading"]) == 2
    assert sample["meter_reading"]["interval_reading"][1]["price"] == 0.2
    assert sample["meter_reading"]["usage_point_id"] == "0" * 14
    masked = to_masked(to_sample(answer))
    assert masked["meter_reading"]["interval_reading"][0]["date"] == "9999-99-99 99:99:99"


def test_a_sample_that_had_to_be_cut_is_shown_as_its_form() -> None:
    sample = to_sample({f"field{chr(97 + n % 26)}{n}": "x" * 190 + str(n) for n in range(60)})
    assert len(sample) == MAX_CHARACTERS
    masked = to_masked(sample)
    assert isinstance(masked, str) and not re.search(r"[b-zA-Z0-8]", masked)


def test_the_fingerprint_is_of_what_surprised_and_not_of_the_answer() -> None:
    one, other = (
        Deviation(DeviationKind.FIELD, "a.b", "text", {"a": 1}),
        Deviation(DeviationKind.FIELD, "a.b", "text", {"a": 2}),
    )
    assert one.fingerprint == other.fingerprint
    assert one.fingerprint != Deviation(DeviationKind.FIELD, "a.b", "list").fingerprint


def registers(series: Series = Series.REGISTERS, **fields: Any) -> Any:
    values = {"2024-01-15": 18623827}
    return registers_2026(calendar_2026("FC000040", {"HP": values}), total=values, series=series, **fields)


def peaks(**fields: Any) -> Any:
    kind = {"unit": "VA", "measurement_kind": "power", "aggregate": "maximum", "measuring_period": "P1D", **fields}
    return v5_answer([["2024-01-15 19:06:20", "4638"]], reading_type=kind)


@pytest.mark.parametrize(
    "answer, series",
    [
        (registers(), Series.REGISTERS),
        (registers(Series.PRODUCTION_REGISTERS), Series.PRODUCTION_REGISTERS),
        (peaks(), Series.MAX_POWER),
        (v5_days(), Series.PRODUCTION_DAILY),
        (v5_curve(), Series.PRODUCTION_LOAD_CURVE),
        ({"contracts": [{"customer": {"usage_points": None}}]}, Series.CONTRACT),
        ({"situation_contrat": [], "synth_contrat": {}, "comptage": None}, Series.CONTRACT),
    ],
)
def test_answers_of_the_further_series_are_as_expected(answer: Any, series: Series) -> None:
    assert deviations_of(answer, series) == []
    parse(answer, series, WINDOW)


@pytest.mark.parametrize(
    "answer, series, deviation",
    [
        (registers(unite="kWh"), Series.REGISTERS, (DeviationKind.UNIT, "contexte[].grandeur[].unite", "kWh")),
        (registers(tarif="x"), Series.REGISTERS, (DeviationKind.FIELD, "contexte[].grandeur[].tarif", "text")),
        (peaks(unit="W"), Series.MAX_POWER, (DeviationKind.UNIT, "meter_reading.reading_type.unit", "W")),
        (
            {"situation_contrat": [{"subscribed_power": {"unit": "kW", "value": "12"}}]},
            Series.CONTRACT,
            (DeviationKind.UNIT, "situation_contrat[].subscribed_power.unit", "kW"),
        ),
        (
            {"situation_contrat": [], "comptage": {"relais": {"plageHeuresCreuses": "la nuit"}}},
            Series.CONTRACT,
            (DeviationKind.SHAPE, "comptage.relais.plageHeuresCreuses", "aa aaaa"),
        ),
    ],
)
def test_what_changes_in_the_further_series_is_told(answer: Any, series: Series, deviation: Any) -> None:
    assert deviations_of(answer, series) == [deviation]
