"""The consent: the address of the page, the callback, and the usage points."""

from __future__ import annotations

import hashlib
import json
from datetime import date, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
import responses
from hypothesis import given
from hypothesis import strategies as st

from tests.support.supplier_server import BASE_URL, NOW, ClientHarness
from worker.clients.endpoints import Callback
from worker.clients.enedis import ENEDIS
from worker.clients.enedis.consent import fetch_shared_meters, read_callback, usage_points_of_grant
from worker.clients.enedis.presets import PRESETS
from worker.clients.oauth import Grant
from worker.clients.supplier_session import Token
from worker.clients.tokens import usage_points_from_id_token
from worker.domain.consents import SharedMeter
from worker.domain.series import Direction, Series, of_supplier
from worker.errors import ConsentRevoked, MalformedAnswer, RequestRefused, SupplierUnavailable

A, B = "98765432109876", "98765432109877"


@pytest.mark.parametrize("name, duration", [("enedis-v4", "P3Y"), ("enedis-v5", "P3Y"), ("enedis-2026", "P1095D")])
def test_the_consent_page_is_asked_with_four_parameters(name: str, duration: str) -> None:
    preset = PRESETS[name]
    assert ENEDIS.consent
    for endpoints in (preset.endpoints(), preset.endpoints("http://localhost:8000")):
        url = ENEDIS.consent.page(endpoints, "our-client", "abc0", preset.consent_duration, "")
        assert url.startswith(f"{endpoints.authorize_url}?")
        assert parse_qs(urlsplit(url).query) == {
            "client_id": ["our-client"],
            "response_type": ["code"],
            "state": ["abc0"],
            "duration": [duration],
        }


def test_a_sandbox_without_page_and_a_state_too_long_are_refused() -> None:
    assert ENEDIS.consent
    with pytest.raises(ValueError, match="sandbox"):
        ENEDIS.consent.page(PRESETS["enedis-v5"].endpoints(sandbox=True), "our-client", "abc0", "P6M", "")
    with pytest.raises(ValueError, match="100"):
        ENEDIS.consent.page(PRESETS["enedis-v5"].endpoints(), "our-client", "a" * 101, "P6M", "")


@pytest.mark.parametrize(
    "query, expected",
    [
        ({"code": "c0de", "state": "s", "usage_point_id": A}, Callback("s", "", (A,), None, "c0de")),
        (
            {"code": "c0de", "state": "s", "usage_point_id": f"{A}; {B},{A},123"},
            Callback("s", "", (A, B), None, "c0de"),
        ),
        ({"state": "s", "usage_point_id": A}, Callback("s", "", (A,))),
        ({"autorisation_id": "900001", "state": "s"}, Callback("s", "", (), 900001)),
        ({"autorisation_id": "900001", "State": "s_parent"}, Callback("s", "", (), 900001)),
        ({"autorisation_id_parent": "900001_parent", "state": "s"}, Callback("s", "", (), 900001)),
        ({"autorisation_id": "0", "state": "s"}, Callback("s", "no_usage_point")),
        ({"autorisation_id": "-1", "state": "s"}, Callback("s", "no_usage_point")),
        ({"autorisation_id": "9" * 19, "state": "s"}, Callback("s", "no_usage_point")),
        ({"code": "c0de", "state": "s"}, Callback("s", "no_usage_point")),
        ({"code": "c0de", "state": "s", "usage_point_id": "1234"}, Callback("s", "no_usage_point")),
        ({"code": "403", "error": "access_denied", "state": "s", "usage_point_id": A}, Callback("s", "access_denied")),
        (
            {"code": "500", "error": "server_error", "error_description": "lincs-internal-server-error", "state": "s"},
            Callback("s", "server_error"),
        ),
        ({"code": "server_error", "error_description": "server_error"}, Callback("", "server_error")),
        ({"code": "500", "state": "s", "usage_point_id": A}, Callback("s", "refused")),
        ({"error": f"<script>{A}", "state": "s"}, Callback("s", "refused")),
        ({}, Callback("", "no_usage_point")),
    ],
)
def test_a_callback_is_read_failures_first(query: dict[str, str], expected: Callback) -> None:
    assert read_callback(query) == expected
    assert read_callback(query.items()) == expected


def test_a_usage_point_told_twice_counts_as_two() -> None:
    pairs = [("usage_point_id", A), ("usage_point_id", B), ("state", "first"), ("state", "s")]
    assert read_callback(pairs) == Callback("s", "", (A, B))


@given(st.dictionaries(st.text(max_size=20), st.text(max_size=30), max_size=5))
def test_no_callback_is_too_odd_to_read(query: dict[str, str]) -> None:
    callback = read_callback(query)
    assert callback.failure or callback.usage_points or callback.autorisation_id


def service(point: Any = A, state: str | None = "ACTIF") -> dict[str, Any]:
    return {"pointId": point, "serviceCode": "ACCES", **({"etatCode": state} if state else {})}


def answer(harness: ClientHarness, status: int, body: Any) -> None:
    content = body if isinstance(body, str) else json.dumps(body)
    harness.supplier.add(responses.POST, f"{BASE_URL}/subscribed_services/v1", status=status, body=content)


def test_the_meters_of_an_authorisation_are_those_of_its_living_services(v2026: ClientHarness) -> None:
    services = [service(A), service(A, "DEMANDE"), service(B, None), service("11111111111111", "TERMINE")]
    services += [service("22222222222222", "SUPPRIME"), service("1234"), service(None), service(7)]
    answer(v2026, 200, {"nbTotalServices": len(services), "serviceSouscrit": services})
    assert [meter.usage_point_id for meter in fetch_shared_meters(v2026.session, 900001, NOW)[0]] == [A, B]

    request = v2026.supplier.calls[-1].request
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Authorization"] == "Bearer access-token-one"
    assert json.loads(request.body) == {
        "autorisationId": 900001,
        "comptage": False,
        "etatCode": ["ACTIF", "DEMANDE"],
        "serviceType": "ACCES",
    }
    assert v2026.permits.requested_apis == ["subscribed_services"]


@pytest.mark.parametrize(
    "told, since, until",
    [
        ({"dateDebut": "2026-10-05", "dateFin": "2029-10-04"}, date(2026, 10, 5), date(2029, 10, 3)),
        ({"dateDebut": "2026-10-05T00:00:00+02:00"}, date(2026, 10, 5), None),
        ({"dateDebut": "today", "dateFin": 20291004}, None, None),
        ({}, None, None),
    ],
)
def test_a_consent_has_its_days_as_the_supplier_tells_them(
    v2026: ClientHarness, told: dict[str, Any], since: date | None, until: date | None
) -> None:
    answer(v2026, 200, {"nbTotalServices": 1, "serviceSouscrit": [{**service(A), **told}]})
    meters, digest = fetch_shared_meters(v2026.session, 900001, NOW)
    assert meters == [SharedMeter(A, since, until)]
    assert digest == hashlib.sha256(v2026.supplier.calls[-1].response.content).hexdigest()


def about(kind: Any, soutirage: Any = None, injection: Any = None) -> dict[str, Any]:
    told = {"mesuresTypeCode": kind, "soutirage": soutirage, "injection": injection}
    return {**service(A), **{name: value for name, value in told.items() if value is not None}}


ALL = frozenset(of_supplier("enedis"))
CONSUMED = frozenset(series for series in ALL if series.description.direction is Direction.CONSUMPTION)


@pytest.mark.parametrize(
    "services, offered",
    [
        ([about("CDC", True, False)], {Series.LOAD_CURVE}),
        ([about("ENERGIE", False, True)], {Series.PRODUCTION_DAILY}),
        ([about(kind, True, False) for kind in ("CDC", "IDX", "PMAX", "ENERGIE", "ITC")], CONSUMED),
        ([about(kind, True, True) for kind in ("CDC", "IDX", "PMAX", "ENERGIE", "ITC")], ALL),
        # Two groups of services on one meter, of a home that also feeds in.
        ([about("ENERGIE", True, False), about("ENERGIE", False, True)], {Series.DAILY, Series.PRODUCTION_DAILY}),
        ([about("ITC", False, True)], {Series.CONTRACT}),
        # No direction is told.
        ([about("CDC")], {Series.LOAD_CURVE, Series.PRODUCTION_LOAD_CURVE}),
        ([about("CDC", "yes", 1)], {Series.LOAD_CURVE, Series.PRODUCTION_LOAD_CURVE}),
        # What is not known could be any series.
        ([about("CDC", True), about("NEW", True)], None),
        ([about("CDC", True), service(A)], None),
        ([about(7, True)], None),
        # One that is over says nothing.
        ([about("CDC", True), {**about("ENERGIE", True), "etatCode": "TERMINE"}], {Series.LOAD_CURVE}),
    ],
)
def test_a_consent_covers_the_series_of_its_services(v2026: ClientHarness, services: Any, offered: Any) -> None:
    answer(v2026, 200, {"nbTotalServices": len(services), "serviceSouscrit": services})
    (meter,) = fetch_shared_meters(v2026.session, 900001, NOW)[0]
    assert meter.offered == offered


@pytest.mark.parametrize(
    "status, body",
    [
        (200, {"nbTotalServices": 0}),
        (200, {"nbTotalServices": 0, "serviceSouscrit": None}),
        (200, {"nbTotalServices": 0, "serviceSouscrit": []}),
        (200, {"nbTotalServices": 1, "serviceSouscrit": [None, "x", {}]}),
        (200, []),
        (400, {"error": "Bad request", "error_description": "Pas de services souscrits, le flux est stoppé."}),
        (404, {"code": "X", "message": "PRM non existant"}),
    ],
)
def test_an_authorisation_not_there_yet_is_empty_in_all_its_forms(v2026: ClientHarness, status: int, body: Any) -> None:
    answer(v2026, status, body)
    assert fetch_shared_meters(v2026.session, 900001, NOW)[0] == []


@pytest.mark.parametrize(
    "status, body, kind",
    [
        (400, {"error": "Bad request", "error_description": "autre chose"}, RequestRefused),
        (403, {"code": "X", "message": "Le client n'est pas autorisé pour le point demandé"}, ConsentRevoked),
        (500, {"code": "X", "message": "Problème technique"}, SupplierUnavailable),
        (503, "<html>", SupplierUnavailable),
    ],
)
def test_an_exchange_refused_otherwise_is_an_error(
    v2026: ClientHarness, status: int, body: Any, kind: type[Exception]
) -> None:
    answer(v2026, status, body)
    with pytest.raises(kind):
        fetch_shared_meters(v2026.session, 900001, NOW)


CLIENT = "our-application"


def id_token(**claims: Any) -> str:
    """Return an id_token for our application, unless the claims say otherwise; None leaves one out."""
    usual = {"iss": "https://supplier.example", "aud": CLIENT, "exp": NOW + timedelta(days=1)}
    claims = {name: value for name, value in {**usual, **claims}.items() if value is not None}
    return jwt.encode(claims, "a key that nobody here checks, long enough", algorithm="HS256")


@pytest.mark.parametrize(
    "claims, meters",
    [
        ({"usage_point_id": A}, [A]),
        ({"usage_points_id": f"{A}, {B}"}, [A, B]),
        ({"usage_points_id": [A, B, A, 5, None]}, [A, B]),
        ({"consentements": json.dumps([{"pce": "01234567890123", "id_accreditation": "x"}])}, ["01234567890123"]),
        ({"consentements": [{"id_pce": "GI123456"}, {"pce": "GI12"}, "x"]}, ["GI123456"]),
        ({"consents": [{"usage_point_id": A}]}, [A]),
        ({"consentements": "not json", "sub": "u0001"}, []),
        ({"pce_id": "GI123456"}, ["GI123456"]),
        ({}, []),
    ],
)
def test_meters_are_read_from_an_id_token(claims: dict[str, Any], meters: list[str]) -> None:
    assert usage_points_from_id_token(id_token(**claims), CLIENT, NOW) == meters


@pytest.mark.parametrize(
    "claims",
    [
        {"exp": 1},
        {"exp": NOW},
        {"exp": "soon"},
        {"exp": [1]},
        {"exp": None},
        {"aud": "another-application"},
        {"aud": None},
        {"iss": None},
    ],
)
def test_an_id_token_that_is_old_or_not_for_us_is_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(MalformedAnswer):
        usage_points_from_id_token(id_token(usage_point_id=A, **claims), CLIENT, NOW)


@pytest.mark.parametrize("text", ["", "a.b.c", "abc", "é.é.é", "eyJhbGciOiJIUzI1NiJ9.W10.c2ln"])
def test_what_is_no_id_token_is_refused(text: str) -> None:
    with pytest.raises(MalformedAnswer):
        usage_points_from_id_token(text, CLIENT, NOW)


@pytest.mark.parametrize(
    "extras, meters",
    [
        ({"usage_points_id": f"{A}, {B}"}, (A, B)),
        ({"usage_points_id": A, "id_token": "broken"}, (A,)),
        ({"id_token": id_token(usage_point_id=A)}, (A,)),
        ({"id_token": id_token(pce="GI123456")}, ()),
        ({}, ()),
    ],
)
def test_a_token_answer_names_meters_before_an_id_token_does(extras: dict[str, Any], meters: tuple[str, ...]) -> None:
    assert usage_points_of_grant(Grant(Token("t"), extras), CLIENT, NOW) == meters
