"""GRDF's client: the request that is sent, the stream that is read, the meter that is echoed, the contract's fields."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import date
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import responses

from tests.support.gas_answers import METER, day, ndjson, period, refusal
from tests.support.supplier_server import BASE_URL, SECRETS, ClientHarness
from worker.clients.answer_shapes import find_deviations
from worker.clients.grdf.presets import ANSWER_SHAPES, PRESETS
from worker.domain.answers import AnswerKind
from worker.domain.series import Series, contract_series, daily_of, intervals_of, of_supplier
from worker.domain.windows import DateWindow
from worker.errors import (
    ConsentRevoked,
    MalformedAnswer,
    OperatorFault,
    RateLimited,
    RequestRefused,
    SeriesNotOffered,
    SupplierUnavailable,
)

WINDOW = DateWindow(date(2024, 6, 25), date(2024, 7, 25))
DAILY, PUBLISHED, CONTRACT = daily_of(supplier="grdf"), intervals_of("grdf"), contract_series("grdf")
TOKEN = {"access_token": "access-token-two", "token_type": "Bearer", "expires_in": 14399, "scope": "/adict/v2 u1 X"}
GI = "GI123456"
TECHNICAL = {
    "pce": {"id_pce": METER},
    "donnees_techniques": {
        "situation_compteur": {"nom_rue": "RUE LAMBDA", "code_postal": "99099", "commune": "LAMBDAVILLE"},
        "caracteristiques_compteur": {"frequence": "1M", "matricule_compteur": "X7"},
        "pitd": {"libelle_pitd": "DUMMYVILLE"},
    },
    "statut_restitution": {},
}
CONTRACTUAL = {
    "pce": {"id_pce": METER},
    "donnees_contractuelles": {"car": 9426, "cja": 0, "tarif_acheminement": "T2", "date_mes": "2020-12-07"},
    "statut_restitution": None,
}


def add(harness: ClientHarness, path: str, *records: Any, status: int = 200, **headers: str) -> None:
    body = records[0] if records and isinstance(records[0], bytes) else ndjson(records)
    url = f"{BASE_URL}/adict/v2/pce/{path}"
    harness.supplier.add(responses.GET, url, status=status, body=body, headers=headers)


@pytest.mark.parametrize("meter", [METER, GI])
@pytest.mark.parametrize(
    "series, path, record",
    [
        (DAILY, "donnees_consos_informatives", day("2024-07-01", 33)),
        (PUBLISHED, "donnees_consos_publiees", period("2024-07-01", "2024-07-03", "33.5")),
    ],
)
def test_a_window_is_one_call_with_the_meter_in_its_path(
    adict: ClientHarness, series: Series, path: str, record: Any, meter: str
) -> None:
    record = {**record, "pce": {"id_pce": meter}}
    add(adict, f"{meter}/{path}", record, **{"Content-Type": "application/x-ndjson"})
    answer = adict.client.ask(series, meter, WINDOW)
    assert (answer.kind, answer.payload) == (AnswerKind.DATA, {"records": [record]})
    request = adict.supplier.calls[-1].request
    assert parse_qs(urlsplit(request.url).query) == {"date_debut": ["2024-06-25"], "date_fin": ["2024-07-25"]}
    assert request.headers["Authorization"] == "Bearer access-token-one"
    assert request.headers["Accept"] == "application/json" and "Content-Type" not in request.headers
    assert adict.permits.requested_apis == ["data"]
    assert find_deviations(answer.payload, ANSWER_SHAPES[series]) == []


def test_a_refused_token_is_renewed_once_with_our_scope_in_the_form(adict: ClientHarness) -> None:
    add(adict, f"{METER}/donnees_consos_informatives", b'{"error": "x"}', status=401)
    add(adict, f"{METER}/donnees_consos_informatives", day("2024-07-01", 33))
    adict.answer_token(200, TOKEN)
    assert adict.client.ask(DAILY, METER, WINDOW).kind is AnswerKind.DATA
    assert parse_qs(str(adict.supplier.calls[1].request.body)) == {
        "grant_type": ["client_credentials"],
        "scope": ["/adict/v2"],
        "client_id": ["our-client"],
        "client_secret": [SECRETS[0]],
    }
    assert adict.permits.requested_apis == ["data", "token", "data"]


def test_a_token_refused_twice_is_the_operators(adict: ClientHarness) -> None:
    for _ in range(2):
        add(adict, f"{METER}/donnees_consos_informatives", b"", status=401)
    adict.answer_token(200, TOKEN)
    with pytest.raises(OperatorFault):
        adict.client.ask(DAILY, METER, WINDOW)


def test_a_429_closes_the_gate(adict: ClientHarness) -> None:
    add(adict, f"{METER}/donnees_consos_informatives", b"", status=429, **{"Retry-After": "1"})
    with pytest.raises(RateLimited):
        adict.client.ask(DAILY, METER, WINDOW)
    assert adict.permits.closed_for_s == [1]


@pytest.mark.parametrize("other", ["09900000000002", 9900000000002, "GI000000"])
def test_the_answer_for_another_meter_is_kept_out(adict: ClientHarness, other: Any) -> None:
    add(adict, f"{METER}/donnees_consos_informatives", day("2024-07-01", 1), day("2024-07-02", 2, meter=other))
    with pytest.raises(MalformedAnswer, match="another meter"):
        adict.client.ask(DAILY, METER, WINDOW)


@pytest.mark.parametrize("echo", [9900000000001, None, "", "<masque>", {"x": 1}])
def test_a_meter_without_its_zeros_or_masked_is_the_one_that_was_asked_for(adict: ClientHarness, echo: Any) -> None:
    add(adict, f"{METER}/donnees_consos_informatives", day("2024-07-01", 1, meter=echo))
    assert adict.client.ask(DAILY, METER, WINDOW).kind is AnswerKind.DATA


def test_what_is_no_meter_is_never_sent(adict: ClientHarness) -> None:
    for meter in ("1234", "GI12345", "../droits_acces"):
        with pytest.raises(RequestRefused):
            adict.client.ask(DAILY, meter, WINDOW)
    for series in of_supplier("enedis"):
        with pytest.raises(RequestRefused, match=series.value):
            adict.client.ask(series, METER, WINDOW)
    assert not adict.supplier.calls


@pytest.mark.parametrize(
    "shape, kept",
    [
        ({"car": 9426, "cja": 0}, {"car": 9426}),
        ({"car": "9426"}, {"car": "9426"}),
        (
            {"car": {"car_actuelle": 9426, "car_future": 1}, "cja": {"cja": 3, "cja_journaliere": 4}},
            {"car": {"car_actuelle": 9426}},
        ),
        ({"car": {"x": 9426}, "cja": None}, {"car": {}}),
    ],
)
def test_a_contract_keeps_both_shapes_of_its_consumption_and_no_address(
    adict: ClientHarness, shape: Any, kept: Any
) -> None:
    contract = {"tarif_acheminement": "T2", "date_mes": "2020-12-07"}
    body = {**CONTRACTUAL, "donnees_contractuelles": {**shape, **contract, "profil": {"profil_type_actuel": "P012"}}}
    add(adict, f"{METER}/donnees_techniques", json.dumps(TECHNICAL, indent=2).encode())
    add(adict, f"{METER}/donnees_contractuelles", body)
    answer = adict.client.ask(CONTRACT, METER, WINDOW)
    assert answer.payload == {
        "donnees_techniques": {"caracteristiques_compteur": {"frequence": "1M"}},
        "donnees_contractuelles": {**kept, **contract},
    }
    assert find_deviations(answer.payload, ANSWER_SHAPES[CONTRACT]) == []
    assert adict.permits.requested_apis == ["data", "data"]
    assert "?" not in str(adict.supplier.calls[-1].request.url)


def test_a_contract_is_told_without_its_contractual_part_but_not_without_the_technical_one(
    adict: ClientHarness,
) -> None:
    add(adict, f"{METER}/donnees_techniques", TECHNICAL)
    not_covered = "Le périmètre des données auxquelles vous avez accès pour ce PCE ne couvre pas les données x."
    add(adict, f"{METER}/donnees_contractuelles", refusal("1000099", not_covered))
    answer = adict.client.ask(CONTRACT, METER, WINDOW)
    assert answer.payload == {"donnees_techniques": {"caracteristiques_compteur": {"frequence": "1M"}}}
    add(adict, f"{METER}/donnees_techniques", refusal("1000099", not_covered))
    with pytest.raises(SeriesNotOffered):
        adict.client.ask(CONTRACT, METER, WINDOW)
    add(adict, f"{METER}/donnees_techniques", refusal("1000014"))
    with pytest.raises(ConsentRevoked):
        adict.client.ask(CONTRACT, METER, WINDOW)
    add(adict, f"{METER}/donnees_techniques", {**TECHNICAL, "pce": {"id_pce": GI}})
    with pytest.raises(MalformedAnswer):
        adict.client.ask(CONTRACT, METER, WINDOW)


def test_a_refusal_is_read_at_its_beginning_alone(adict: ClientHarness) -> None:
    add(adict, f"{METER}/donnees_consos_informatives", b"<html>" + b"x" * 10**6, status=403)
    with pytest.raises(SupplierUnavailable, match="not JSON"):
        adict.client.ask(DAILY, METER, WINDOW)


LEAKS = [
    (200, ndjson([refusal(METER, SECRETS[1])])),
    (200, ndjson([day("2024-07-01", 1)])[:-30]),
    (200, ndjson([day("2024-07-01", 1, meter="09900000000002")])),
    (200, b'{"a": "%s' % METER.encode()),
    (200, b'{"a": "%s", ]' % METER.encode()),
    *((status, f'{{"error": "{METER} {SECRETS[1]}"}}'.encode()) for status in (400, 401, 403, 404, 429, 500)),
    *((status, SECRETS[1].encode()) for status in (200, 400, 401, 403, 404, 429, 503)),
]


@pytest.mark.parametrize("status, body", LEAKS)
def test_no_text_or_log_holds_a_token_a_meter_or_a_body(
    adict: ClientHarness, status: int, body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    for _ in range(2):
        add(adict, f"{METER}/donnees_consos_informatives", body, status=status)
    adict.answer_token(200, TOKEN)
    with pytest.raises(Exception) as caught:
        adict.client.ask(DAILY, METER, WINDOW)
    shown = [*traceback.format_exception(caught.value), repr(caught.value), repr(vars(caught.value)), caplog.text]
    text = "".join([*shown, repr(adict.client)])
    assert [secret for secret in (*SECRETS[:2], METER, "9900000000002") if secret in text] == []


def test_the_sandbox_has_its_own_path_and_scope() -> None:
    preset = PRESETS["grdf-adict-sandbox"]
    assert preset.endpoints().base_url == "https://api.grdf.fr/adict/bas/v6"
    assert preset.endpoints("http://localhost:8000").base_url == "http://localhost:8000/adict/bas/v6"
    assert preset.scope == "/adict/bas/v6"
