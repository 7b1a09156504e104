"""The client of a gateway: what is sent, what recorded answers mean, a refused token, and a ban."""

from __future__ import annotations

import json
import logging
import traceback
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import requests
import responses

from tests.support.recordings import RESPONSES, load_response, needs_recordings
from tests.support.supplier_server import BASE_URL, NOW, FakePermits, FakeTokenStore
from worker.clients.gateway import GATEWAY
from worker.clients.gateway.presets import PRESETS
from worker.clients.supplier import SupplierClient
from worker.clients.supplier_session import SplitFetch, SupplierSession, Token, Transport
from worker.clients.tokens import BearerTokens
from worker.domain.answers import AnswerKind, Deviation
from worker.domain.parsing import parse
from worker.domain.series import Direction, Series, of_supplier
from worker.domain.windows import DateWindow
from worker.errors import (
    ConsentRevoked,
    GatewayBanned,
    HolderChanged,
    RequestRefused,
    SupplierFault,
    SupplierLimited,
    TokenNeeded,
    TokenRefused,
    WorkerError,
)

METER = "99999999999991"
OLD_METER = "11111111111111"  # Of the bodies of v5.
BEARER = jwt.encode({"sub": [METER]}, "a key of thirty-two bytes or more ...")
WINDOW = DateWindow(date(2026, 9, 29), date(2026, 10, 1))
OLD_WINDOW = DateWindow(date(2023, 4, 1), date(2023, 4, 2))
PASSED_ON = "The Enedis API returned an error"
INVALID_TOKEN = {"status": 401, "message": "Votre token est invalide ou ne permet pas d'accéder à ce PRM"}


class Gateway:
    """A client of one account and the gateway that answers it from a list."""

    def __init__(self, supplier: responses.RequestsMock) -> None:
        self.supplier, self.permits, self.reported = supplier, FakePermits(), list[Deviation]()
        self.store = FakeTokenStore(Token(BEARER))
        endpoints = PRESETS["conso-api"].endpoints(BASE_URL)
        transport = Transport(endpoints.base_url, user_agent="releve/1.2.3")
        self.session = SupplierSession(endpoints, transport, BearerTokens(self.store), self.permits)
        self.client: SupplierClient = GATEWAY.client(endpoints, self.session, lambda: NOW, self.reported.append)
        self.paths = {series: f"{BASE_URL}/api{path}" for series, path in endpoints.preset.paths.items()}

    def answer(self, status: int, body: Any, **options: Any) -> None:
        content = body if isinstance(body, bytes | str | Exception) else json.dumps(body)
        for url in self.paths.values():
            self.supplier.add(responses.GET, url, status=status, body=content, **options)

    def ask(self, series: Series = Series.DAILY, meter: str = METER, window: DateWindow = WINDOW) -> Any:
        return self.client.ask(series, meter, window)


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield Gateway(mock)


@pytest.mark.parametrize("series", PRESETS["conso-api"].paths)
def test_each_series_is_asked_for_with_the_accounts_token(gateway: Gateway, series: Series) -> None:
    gateway.answer(200, {"idPrm": METER, "grandeur": [{"points": []}]})
    assert gateway.ask(series).kind is AnswerKind.DATA
    (call,) = gateway.supplier.calls
    query = parse_qs(urlsplit(call.request.url).query)
    further = {"mesuresPas": ["P1D"], "grandeurPhysique": ["PMA"]} if series is Series.MAX_POWER else {}
    assert query == {"pointId": [METER], "dateDebut": ["2026-09-29"], "dateFin": ["2026-10-01"]} | further
    assert call.request.headers["Authorization"] == f"Bearer {BEARER}"
    assert call.request.headers["User-Agent"] == "releve/1.2.3"
    assert gateway.permits.requested_apis == ["data"]


def test_all_series_of_enedis_but_the_contract_are_there() -> None:
    measured = {series for series in of_supplier("enedis") if not series.is_state}
    assert set(PRESETS["conso-api"].paths) == measured
    assert {series.description.direction for series in measured} == set(Direction)


@needs_recordings
@pytest.mark.parametrize(
    ("name", "series", "meter", "window", "total"),
    [
        ("consoapi_v5_200_daily_consumption_2023-04-01_2023-04-02", Series.DAILY, OLD_METER, OLD_WINDOW, 11_776),
        (
            "consoapi_v5_200_daily_consumption_2023-04-01_2023-04-04",
            Series.DAILY,
            OLD_METER,
            DateWindow(date(2023, 4, 1), date(2023, 4, 4)),
            11_776 + 14_401 + 12_820,
        ),
        ("consoapi_v5_200_daily_production_2023-04-01_2023-04-02", Series.PRODUCTION_DAILY, OLD_METER, OLD_WINDOW, 643),
        (
            "consoapi_v5_200_daily_production_2023-04-01_2023-04-04",
            Series.PRODUCTION_DAILY,
            OLD_METER,
            DateWindow(date(2023, 4, 1), date(2023, 4, 4)),
            643 + 6 + 15_411,
        ),
        (
            "consoapi_v5_200_consumption_load_curve_2023-04-01_2023-04-02",
            Series.LOAD_CURVE,
            OLD_METER,
            OLD_WINDOW,
            11_776,
        ),
        ("consoapi_v5_200_consumption_max_power_2023-04-01_2023-04-02", Series.MAX_POWER, OLD_METER, OLD_WINDOW, 4_638),
        (
            "dc2026_200_consommation_quotidienne_2026-09-29_2026-10-01",
            Series.DAILY,
            METER,
            WINDOW,
            33_495 + 38_022,
        ),
        (
            "dc2026_200_courbe_de_charge_consommation_2026-09-29_2026-10-01",
            Series.LOAD_CURVE,
            METER,
            WINDOW,
            33_495 + 38_022,
        ),
        (
            "dc2026_200_production_quotidienne_2026-09-29_2026-10-01",
            Series.PRODUCTION_DAILY,
            "99999999999992",
            WINDOW,
            None,
        ),
    ],
)
def test_recorded_bodies_of_both_generations_give_their_exact_values(
    gateway: Gateway, name: str, series: Series, meter: str, window: DateWindow, total: int | None
) -> None:
    body = load_response(f"{name}.json")
    gateway.answer(200, body)
    answer = gateway.ask(series, meter, window)
    readings = parse(answer.payload, series, window).readings
    expected = sum(int(p["v"]) for item in body["grandeur"] for p in item["points"]) if total is None else total
    assert readings and round(sum(reading.amount for reading in readings) / 1_000) == expected
    assert gateway.reported == []


RECORDED_ERRORS: dict[str, tuple[int, type[WorkerError] | AnswerKind]] = {
    "consoapi_403_cloudflare_block.fragment.html": (403, GatewayBanned),
    "consoapi_502_cloudflare.fragment.txt": (502, SupplierFault),
    "consoapi_v5_400_adam_dc_0007.json": (400, HolderChanged),
    "consoapi_v5_400_adam_err0123.json": (400, AnswerKind.BEFORE_HISTORY),
    "consoapi_v5_400_daily_consumption_2023-04-02_2023-04-01.json": (400, RequestRefused),
    "consoapi_v5_401_invalid_token.json": (401, TokenRefused),
    "consoapi_v5_403_adam_dc_0008.json": (403, ConsentRevoked),
    "consoapi_v5_404_no_data_found.json": (404, AnswerKind.NO_DATA),
    "consoapi_v5_429_900804_throttled.json": (429, SupplierLimited),
    "consoapi_v5_500_technical_error.json": (500, SupplierFault),
    "consoapi_v5_500_unknown.json": (500, SupplierFault),
    "dc2026_400_adam_err0123_fr.json": (400, AnswerKind.BEFORE_HISTORY),
    "dc2026_403_900908_not_subscribed.json": (403, SupplierFault),
}


def outcome_of(gateway: Gateway) -> type[WorkerError] | AnswerKind:
    try:
        kind: AnswerKind = gateway.ask().kind
    except WorkerError as error:
        return type(error)
    return kind


@needs_recordings
@pytest.mark.parametrize("name", RECORDED_ERRORS)
def test_recorded_errors_have_their_meaning(gateway: Gateway, name: str) -> None:
    status, meaning = RECORDED_ERRORS[name]
    gateway.answer(status, (RESPONSES / name).read_bytes())
    assert outcome_of(gateway) is meaning
    assert gateway.reported == []


@needs_recordings
def test_no_recorded_answer_is_left_out() -> None:
    recorded = {path.name for path in RESPONSES.glob("consoapi_*") if "_200_" not in path.name}
    assert recorded <= RECORDED_ERRORS.keys()


@pytest.mark.parametrize(
    ("status", "body", "meaning"),
    [
        (400, {"status": 400, "message": "Paramètres invalides", "error": {"issues": [METER]}}, RequestRefused),
        (400, {"status": 400, "message": "L'en-tête Authorization est manquant"}, RequestRefused),
        (405, {"status": 405, "message": "Méthode non autorisée"}, RequestRefused),
        (401, INVALID_TOKEN, TokenRefused),
        (401, b"<html>401</html>", TokenRefused),
        (
            401,
            {"status": 401, "message": PASSED_ON, "error": {"fault": {"code": 900901, "message": "Invalid"}}},
            SupplierFault,
        ),
        (403, b"", GatewayBanned),
        (403, {"status": 403, "message": PASSED_ON, "error": {"code": "900908", "message": "…"}}, SupplierFault),
        (404, {"status": 404, "message": PASSED_ON, "error": {"code": "404", "message": "…"}}, AnswerKind.NO_DATA),
        (429, {"status": 429, "message": PASSED_ON, "error": {"fault": {"code": 900807}}}, SupplierLimited),
        (429, b"<html>Too many requests</html>", SupplierLimited),
        (500, {"status": 500, "message": "Impossible de rafraîchir le token. Réessayez plus tard"}, SupplierFault),
        (503, b"<html></html>", SupplierFault),
        (403, {"error": "ADAM-DC-0008", "error_description": "…"}, ConsentRevoked),
    ],
)
def test_errors_of_the_gateway_and_of_enedis_behind_it(
    gateway: Gateway, status: int, body: Any, meaning: type[WorkerError] | AnswerKind
) -> None:
    gateway.answer(status, body)
    assert outcome_of(gateway) is meaning
    assert gateway.reported == []


def test_a_ban_closes_the_gate_for_a_day(gateway: Gateway) -> None:
    gateway.answer(403, b"<!DOCTYPE html><html><title>Attention Required!</title></html>")
    with pytest.raises(GatewayBanned) as caught:
        gateway.ask()
    assert caught.value.retry_after_s == 24 * 3600
    assert gateway.permits.closed_for_s == [24 * 3600.0]
    assert gateway.permits.closed_for == ["GATEWAY_BANNED"]


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"status": 500, "message": "Erreur inconnue. Réessayez plus tard"}),
        (500, {"status": 500, "message": PASSED_ON, "error": {"error": "technical_error"}}),
        (403, {"status": 403, "message": PASSED_ON, "error": {"code": "900908", "message": "…"}}),
    ],
)
def test_a_gateway_that_is_unwell_is_not_asked_again_within_seconds(gateway: Gateway, status: int, body: Any) -> None:
    gateway.answer(status, body)
    with pytest.raises(SupplierFault) as caught:
        gateway.ask()
    assert caught.value.retry_after_s == 3600
    assert gateway.permits.closed_for_s == []


def test_a_refused_token_is_asked_with_once_more_if_another_was_given_meanwhile(gateway: Gateway) -> None:
    newer = jwt.encode({"sub": [METER], "iat": 1}, "a key of thirty-two bytes or more ...")

    def refuse(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        gateway.store.token = Token(newer)
        good = request.headers["Authorization"] == f"Bearer {newer}"
        return (
            (200, {}, json.dumps({"idPrm": METER, "grandeur": [{}]})) if good else (401, {}, json.dumps(INVALID_TOKEN))
        )

    gateway.supplier.add_callback(responses.GET, gateway.paths[Series.DAILY], refuse)
    assert gateway.ask().kind is AnswerKind.DATA
    assert [call.request.headers["Authorization"] for call in gateway.supplier.calls] == [
        f"Bearer {BEARER}",
        f"Bearer {newer}",
    ]


def test_a_refused_token_costs_one_call_and_nothing_is_renewed(gateway: Gateway) -> None:
    gateway.answer(401, INVALID_TOKEN)
    assert outcome_of(gateway) is TokenRefused
    assert [call.request.method for call in gateway.supplier.calls] == ["GET"]
    assert gateway.store.events == []


@pytest.mark.parametrize(
    "token", [None, Token(BEARER, expires_at=int((datetime.now(UTC) - timedelta(hours=1)).timestamp()))]
)
def test_without_a_token_that_is_in_force_nobody_is_asked(gateway: Gateway, token: Token | None) -> None:
    gateway.store.token = token
    assert outcome_of(gateway) is TokenNeeded
    assert len(gateway.supplier.calls) == 0 and gateway.permits.requested_apis == []


def test_a_window_before_the_history_finds_its_floor(gateway: Gateway) -> None:
    floor = date(2026, 6, 1)

    def answer(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        start = parse_qs(urlsplit(str(request.url)).query)["dateDebut"][0]
        early = {"status": 400, "message": PASSED_ON, "error": {"error": "ADAM-ERR0123"}}
        if date.fromisoformat(start) < floor:
            return 400, {}, json.dumps(early)
        return 200, {}, json.dumps({"idPrm": METER, "grandeur": [{}]})

    gateway.supplier.add_callback(responses.GET, gateway.paths[Series.DAILY], answer)
    split = SplitFetch(lambda piece: gateway.ask(window=piece)).fetch(DateWindow(date(2025, 10, 1), date(2026, 10, 1)))
    assert split.floor == floor


LEAKS: list[tuple[int, Any]] = [
    (400, {"status": 400, "message": "Paramètres invalides", "error": {"issues": [METER, BEARER]}}),
    (401, {"status": 401, "message": BEARER}),
    (403, f"<html>{BEARER} {METER}</html>".encode()),
    (404, {"status": 404, "message": PASSED_ON, "error": {"error": METER, "error_description": BEARER}}),
    (429, {"status": 429, "message": PASSED_ON, "error": {"description": BEARER}}),
    (500, {"status": 500, "message": METER}),
    (200, {"idPrm": OLD_METER, "grandeur": [{"token": BEARER}]}),
    (200, requests.ConnectionError(f"{BASE_URL}/api?pointId={METER}")),
]


@pytest.mark.parametrize(("status", "body"), LEAKS)
def test_no_text_or_log_holds_a_token_a_meter_or_a_body(
    gateway: Gateway, status: int, body: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    gateway.answer(status, body)
    with pytest.raises(WorkerError) as caught:
        gateway.ask()

    shown = [*traceback.format_exception(caught.value), repr(caught.value), repr(vars(caught.value)), caplog.text]
    text = "".join(
        [*shown, repr(gateway.session), repr(gateway.client), repr(gateway.store.token), *map(repr, gateway.reported)]
    )
    assert BEARER not in text and METER not in text and OLD_METER not in text
