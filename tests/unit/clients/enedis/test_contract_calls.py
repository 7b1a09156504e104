"""A contract: one question of one call or three, each with its permit; only the needed fields leave the client."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import json_values, many
from tests.support.supplier_server import BASE_URL, NOW, USAGE_POINT, ClientHarness
from worker.clients.answer_shapes import find_deviations, keep_fields
from worker.clients.enedis.client import EnedisClient
from worker.clients.enedis.presets import ANSWER_SHAPES, PRESETS
from worker.domain.answers import AnswerKind, Deviation, RawAnswer, pack_raw_answers, unpack_raw_answers
from worker.domain.parsing.contracts import parse_contract
from worker.domain.series import Series, of_supplier
from worker.domain.windows import DateWindow
from worker.errors import (
    ConsentRevoked,
    MalformedAnswer,
    OperatorFault,
    RequestRefused,
    SeriesNotOffered,
    SupplierUnavailable,
)

WINDOW = DateWindow(date(2024, 7, 24), date(2024, 7, 25))
OTHER = "11111111111111"
PERSONAL = ("Dupont", "Camille", "1 rue des Lilas", "69003", "camille@example.org", "0601020304", "-1000000001")
NOT_SUBSCRIBED = {
    "code": "900908",
    "message": "Resource forbidden ",
    "description": "User is NOT authorized to access the Resource. API Subscription validation failed.",
}

NOT_ALLOWED = {"code": "X", "message": "Le client n'est pas autorisé pour le point demandé"}


def body_v5(meter: str = USAGE_POINT) -> Any:
    contract = {
        "segment": "C5",
        "subscribed_power": "9 kVA",
        "last_activation_date": "2013-08-14+01:00",
        "distribution_tariff": "BTINFCUST",
        "offpeak_hours": "HC (23h00-7h30)",
        "contract_status": "SERVC",
        "holder": {"lastname": PERSONAL[0], "firstname": PERSONAL[1]},
    }
    point = {"usage_point_id": meter, "usage_point_status": "com", "meter_type": "AMM", "street": PERSONAL[2]}
    customer = {"customer_id": PERSONAL[6], "usage_points": [{"usage_point": point, "contracts": contract}]}
    return {"customer": customer, "contact": {"email": PERSONAL[4], "phone": PERSONAL[5]}}


def situation(meter: str = USAGE_POINT) -> Any:
    return [
        {
            "usage_point_id": meter,
            "contract_start": "2026-02-11T00:00:00+0100",
            "contract_type": "Contrat GRD-F",
            "contractor": PERSONAL[0],
            "distribution_tariff": "BTINFCUST",
            "subscribed_power": {"unit": "kVA", "value": "9"},
            "segment": "C5",
            "customer": {"customer": {"adress": {"line1": PERSONAL[2], "line7": PERSONAL[3]}}},
            "contact_data": {"email": PERSONAL[4], "phone": PERSONAL[5]},
            "person": {"lastname": PERSONAL[0], "firstname": PERSONAL[1]},
        }
    ]


SUMMARY = {"segments": [{"segment": "C5"}], "consumption_last_activation_date": "2013-08-14T00:00:00+0200"}
METERING = {"relais": {"plageHeuresCreuses": "HC (23h00-7h30)"}, "compteurs": [{"numeroSerie": PERSONAL[6]}]}


def address(path: str) -> str:
    return BASE_URL + path.replace("{meter}", USAGE_POINT)


def answer(harness: ClientHarness, *answers: tuple[int, Any]) -> None:
    """Add the answer to each call of the contract in turn; none for the last ones that are not called."""
    calls = harness.endpoints.preset.state_calls[Series.CONTRACT]
    for call, (status, body) in zip(calls, answers, strict=False):
        content = body if isinstance(body, bytes) else json.dumps(body)
        harness.supplier.add(responses.GET, address(call.path), status=status, body=content)


def whole(harness: ClientHarness) -> list[tuple[int, Any]]:
    if harness.endpoints.preset.name == "enedis-2026":
        return [(200, situation()), (200, SUMMARY), (200, METERING)]
    return [(200, [body_v5()] if harness.endpoints.preset.name == "enedis-v4" else body_v5())]


def test_each_generation_asks_for_the_contract_in_its_words_and_gets_the_same(harness: ClientHarness) -> None:
    answer(harness, *whole(harness))
    got = harness.client.ask(Series.CONTRACT, USAGE_POINT, WINDOW)
    assert got.kind is AnswerKind.DATA
    (reading,) = parse_contract(got.payload, WINDOW).readings
    assert reading.amount == 9_000_000 and reading.details is not None
    assert [reading.details[name] for name in ("tariff", "off_peak_hours", "activated_on", "segment")] == [
        "BTINFCUST",
        "HC (23H00-7H30)",
        "2013-08-14",
        "C5",
    ]
    assert find_deviations(got.payload, ANSWER_SHAPES[Series.CONTRACT]) == []

    asked = [call.request.url for call in harness.supplier.calls]
    if harness.endpoints.preset.name == "enedis-2026":
        apis = ["situation_contrat_auto", "synth_contrat_auto", "comptage_auto"]
        assert asked == [f"{BASE_URL}/{api}/v1/{USAGE_POINT}" for api in apis]  # No parameter: that is answered by 500.
        assert harness.permits.requested_apis == apis
    else:
        (call,) = harness.endpoints.preset.state_calls[Series.CONTRACT]
        assert asked == [f"{BASE_URL}{call.path}?usage_point_id={USAGE_POINT}"]
        assert harness.permits.requested_apis == ["data"]


def test_nothing_personal_leaves_the_client(harness: ClientHarness, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    answer(harness, *whole(harness))
    got = harness.client.ask(Series.CONTRACT, USAGE_POINT, WINDOW)
    raw = RawAnswer(Series.CONTRACT, NOW, WINDOW, [(WINDOW, got.payload)])
    (kept,) = unpack_raw_answers(pack_raw_answers([raw]))
    odd = {**got.payload, "new_field": 1}
    samples = [deviation.sample for deviation in find_deviations(odd, ANSWER_SHAPES[Series.CONTRACT])]
    assert samples
    shown = json.dumps([got.payload, kept.pieces, samples], default=str) + caplog.text + repr(got)
    assert [text for text in PERSONAL if text in shown] == []


@pytest.mark.parametrize("preset", PRESETS)
def test_a_refusal_with_a_person_in_it_is_reported_without_its_body(
    build: Callable[[str], ClientHarness], preset: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    harness, reported = build(preset), list[Deviation]()
    client = EnedisClient(harness.endpoints, harness.session, lambda: NOW, reported.append)
    answer(harness, (400, {"error": "ADAM-ERR0999", "error_description": PERSONAL[0], "person": PERSONAL[1]}))
    with pytest.raises(RequestRefused) as caught:
        client.ask(Series.CONTRACT, USAGE_POINT, WINDOW)
    assert [(deviation.detail, deviation.sample) for deviation in reported] == [("adam-err0999", None)]
    shown = caplog.text + repr(caught.value) + repr(reported)
    assert [text for text in (*PERSONAL, USAGE_POINT) if text in shown] == []


@pytest.mark.parametrize(
    "summary, metering, absent",
    [
        ((200, SUMMARY), (403, NOT_SUBSCRIBED), {"off_peak_hours"}),
        ((200, SUMMARY), (404, {"code": "X", "message": "Situation comptage ou PRM non existant"}), {"off_peak_hours"}),
        ((403, NOT_SUBSCRIBED), (403, NOT_SUBSCRIBED), {"off_peak_hours", "activated_on"}),
        ((403, NOT_ALLOWED), (403, NOT_ALLOWED), {"off_peak_hours", "activated_on"}),
    ],
)
def test_an_api_that_is_not_open_is_no_fault_and_the_contract_comes_without_it(
    v2026: ClientHarness, summary: Any, metering: Any, absent: set[str]
) -> None:
    answer(v2026, (200, situation()), summary, metering)
    got = v2026.client.ask(Series.CONTRACT, USAGE_POINT, WINDOW)
    (reading,) = parse_contract(got.payload, WINDOW).readings
    names = {"tariff", "segment", "off_peak_hours", "activated_on"}
    assert reading.details is not None and names - reading.details.keys() == absent
    assert len(v2026.permits.requested_apis) == 3


def test_a_refusal_of_the_first_api_is_one_of_the_contract(v2026: ClientHarness) -> None:
    answer(v2026, (403, NOT_ALLOWED))
    with pytest.raises(ConsentRevoked):
        v2026.client.ask(Series.CONTRACT, USAGE_POINT, WINDOW)


def test_without_the_first_api_there_is_no_contract(v2026: ClientHarness) -> None:
    answer(v2026, (403, NOT_SUBSCRIBED))
    with pytest.raises(OperatorFault, match="900908"):
        v2026.client.ask(Series.CONTRACT, USAGE_POINT, WINDOW)
    assert v2026.permits.requested_apis == ["situation_contrat_auto"]


@pytest.mark.parametrize(
    "refusal, error",
    [
        ((500, {"code": "X", "message": "Problème technique"}), SupplierUnavailable),
        ((503, b"<html>"), SupplierUnavailable),
    ],
)
def test_a_later_call_that_fails_is_no_half_contract(
    v2026: ClientHarness, refusal: Any, error: type[Exception]
) -> None:
    answer(v2026, (200, situation()), (200, SUMMARY), refusal)
    with pytest.raises(error):
        v2026.client.ask(Series.CONTRACT, USAGE_POINT, WINDOW)


def test_where_there_is_no_contract_no_further_call_is_made(v2026: ClientHarness) -> None:
    answer(v2026, (404, {"code": "X", "message": "PRM non existant"}))
    assert v2026.client.ask(Series.CONTRACT, USAGE_POINT, WINDOW).kind is AnswerKind.NO_DATA
    assert len(v2026.supplier.calls) == 1


@pytest.mark.parametrize("preset, body", [("enedis-v5", body_v5(OTHER)), ("enedis-2026", situation(OTHER))])
def test_the_contract_of_another_meter_is_kept_out(
    build: Callable[[str], ClientHarness], preset: str, body: Any
) -> None:
    harness = build(preset)
    answer(harness, (200, body))
    with pytest.raises(MalformedAnswer, match="another meter"):
        harness.client.ask(Series.CONTRACT, USAGE_POINT, WINDOW)


def test_of_several_meters_of_one_customer_only_the_one_asked_for_is_kept(v5: ClientHarness) -> None:
    body = _v5_with_two_meters()
    answer(v5, (200, body))
    payload = v5.client.ask(Series.CONTRACT, USAGE_POINT, WINDOW).payload
    assert OTHER not in json.dumps(payload) and USAGE_POINT in json.dumps(payload)
    (reading,) = parse_contract(payload, WINDOW).readings
    assert reading.amount == 9_000_000


def _v5_with_two_meters() -> Any:
    first, second = body_v5(OTHER), body_v5(USAGE_POINT)
    first["customer"]["usage_points"][0]["contracts"]["subscribed_power"] = "36 kVA"
    first["customer"]["usage_points"] += second["customer"]["usage_points"]
    return first


def test_a_refused_request_is_not_read_as_one_that_ends_too_late(harness: ClientHarness) -> None:
    answer(harness, (400, {"error": "invalid_request", "error_description": "x"}))
    with pytest.raises(RequestRefused):
        harness.client.ask(Series.CONTRACT, USAGE_POINT, WINDOW)  # Its window ends today.


def test_highest_power_is_asked_with_the_parameters_that_2026_needs(v2026: ClientHarness) -> None:
    v2026.answer_measures(404, {"code": "X", "message": "Pas de mesure trouvée pour ce point"})
    assert v2026.client.ask(Series.MAX_POWER, USAGE_POINT, WINDOW).kind is AnswerKind.NO_DATA
    asked = str(v2026.supplier.calls[-1].request.url)
    assert asked.endswith("&mesuresPas=P1D&grandeurPhysique=PMA") and f"pointId={USAGE_POINT}" in asked


def test_registers_are_data_although_the_usual_list_is_empty(v2026: ClientHarness) -> None:
    v2026.answer_measures(200, {"idPrm": USAGE_POINT, "grandeur": [], "contexte": [{"grandeur": []}]})
    v2026.answer_measures(200, {"idPrm": USAGE_POINT, "grandeur": [], "contexte": []})
    kinds = [v2026.client.ask(Series.REGISTERS, USAGE_POINT, WINDOW).kind for _ in range(2)]
    assert kinds == [AnswerKind.DATA, AnswerKind.NO_DATA]


def test_a_series_that_a_generation_has_not_is_never_sent_and_ends_nothing(harness: ClientHarness) -> None:
    missing = [series for series in of_supplier("enedis") if not harness.endpoints.preset.offers(series)]
    assert missing == (
        [] if harness.endpoints.preset.name == "enedis-2026" else [Series.REGISTERS, Series.PRODUCTION_REGISTERS]
    )
    for series in missing:
        with pytest.raises(RequestRefused, match=series.value):
            harness.client.ask(series, USAGE_POINT, WINDOW)
    assert not harness.supplier.calls


@pytest.mark.parametrize("series", [Series.DAILY, Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE])
def test_a_meter_without_that_direction_says_so(harness: ClientHarness, series: Series) -> None:
    harness.answer_measures(
        400, {"error": "ADAM-ERR0069", "error_description": "Le sens de la mesure ne correspond pas"}
    )
    with pytest.raises(SeriesNotOffered):
        harness.client.ask(series, USAGE_POINT, WINDOW)


_KEPT = [call.kept for preset in PRESETS.values() for call in preset.state_calls[Series.CONTRACT]]


@many
@given(json_values, st.sampled_from(_KEPT))
def test_of_any_body_only_named_fields_are_kept(body: Any, kept: Any) -> None:
    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return {*value, *(name for inner in value.values() for name in names(inner))}
        return {name for item in value for name in names(item)} if isinstance(value, list) else set()

    assert names(keep_fields(body, kept)) <= names(kept)
