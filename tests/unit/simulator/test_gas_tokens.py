"""GRDF's token endpoint and consent page."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64decode

import pytest

from simulator.switches import CLIENT_SECRET, SimulatorOptions
from tests.support.grdf_caller import CALLBACK, NOW, PCE, GasCaller, claims_of


@pytest.fixture
def grdf() -> GasCaller:
    return GasCaller()


@pytest.mark.parametrize("base", ["/adict/v2", "/adict/bas/v6"])
def test_the_applications_token_comes_with_a_wider_scope_than_asked_for(grdf: GasCaller, base: str) -> None:
    body = grdf.ask_token(grant_type="client_credentials", scope=base).json()
    assert (body["token_type"], body["expires_in"]) == ("Bearer", 14399)
    assert body["scope"].split()[0] == base and len(body["scope"].split()) == 3


@pytest.mark.parametrize(
    ("form", "status", "error"),
    [
        ({"grant_type": "client_credentials"}, 400, "invalid_scope"),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"grant_type": ""}, 400, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "never-given", "redirect_uri": CALLBACK}, 400, "invalid_grant"),
    ],
)
def test_a_wrong_request_for_a_token_is_refused(grdf: GasCaller, form: dict[str, str], status: int, error: str) -> None:
    answer = grdf.ask_token(**form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.json()["error_description"]


def test_a_wrong_client_is_refused_in_oktas_other_shape(grdf: GasCaller) -> None:
    answer = grdf.ask_token(grant_type="client_credentials", scope="/adict/v2", client_secret="wrong")
    assert (answer.status_code, answer.json()["errorCode"]) == (401, "invalid_client")
    assert answer.json()["errorSummary"]
    any_client = GasCaller(SimulatorOptions(pretend_now=NOW, client_id=None))
    assert any_client.ask_token(grant_type="client_credentials", scope="/adict/v2", client_id="x").status_code == 200


def test_a_consent_ends_with_an_id_token_that_names_the_meter_and_its_right(grdf: GasCaller) -> None:
    callback = grdf.callback(pce=PCE)
    assert set(callback) == {"code", "state", "iss", "client_id"}
    body = _exchange(grdf, callback["code"])
    claims = claims_of(body["id_token"])
    assert isinstance(claims["consentements"], str)
    (right,) = grdf.rights(id_pce=[PCE])
    assert json.loads(claims["consentements"]) == [{"pce": PCE, "id_accreditation": right["id_droit_acces"]}]
    assert (right["etat_droit_acces"], right["parcours"]) == ("Active", "CLIENT_CONNECT")
    assert claims["exp"] - claims["iat"] == 3600
    signed, _, signature = body["id_token"].rpartition(".")
    expected = hmac.new(CLIENT_SECRET.encode(), signed.encode(), hashlib.sha256).digest()
    assert urlsafe_b64decode(signature + "=") == expected


def test_a_users_token_reads_no_data(grdf: GasCaller) -> None:
    grdf.token = _exchange(grdf, grdf.callback(pce=PCE)["code"])["access_token"]
    assert grdf.ask("informatives").status_code == 403
    grdf.admin("switches", {"user_token_status": 401})
    assert grdf.ask("informatives").status_code == 401


@pytest.mark.parametrize("kind", ["list", "several", "none"])
def test_the_claim_has_its_other_shapes_by_a_switch(grdf: GasCaller, kind: str) -> None:
    grdf.admin("switches", {"consents": kind})
    claims = claims_of(_exchange(grdf, grdf.callback(pce=PCE)["code"])["id_token"])
    if kind == "none":
        assert "consentements" not in claims
    elif kind == "list":
        assert [item["pce"] for item in claims["consentements"]] == [PCE]
    else:
        assert [item["pce"] for item in json.loads(claims["consentements"])] == [PCE, "GI000000"]


def test_a_code_works_once_for_three_minutes_and_for_its_own_callback(grdf: GasCaller) -> None:
    used, late, other = (grdf.callback(pce=PCE)["code"] for _ in range(3))
    _exchange(grdf, used)
    form = {"grant_type": "authorization_code", "redirect_uri": CALLBACK}
    assert grdf.ask_token(code=used, **form).json()["error"] == "invalid_grant"
    assert grdf.ask_token(code=other, **(form | {"redirect_uri": "https://x.example"})).status_code == 400
    grdf.set_clock("2024-11-05T09:04+01:00")
    assert grdf.ask_token(code=late, **form).json()["error"] == "invalid_grant"


def test_a_holder_refuses_on_the_page_or_chooses_the_meter_there() -> None:
    grdf = GasCaller(SimulatorOptions(pretend_now=NOW, consent_page=True))
    page = grdf.authorize(state='"><script>')
    assert page.status_code == 200 and 'name="pce"' in page.text and "<script>" not in page.text
    refused = grdf.callback(decision="refuse")
    assert (refused["error"], refused["state"]) == ("access_denied", "abc")
    assert grdf.rights() == []
    assert "PCE est inconnu" in grdf.authorize(decision="approve", pce="12").text
    assert "code" in grdf.callback(decision="approve", pce=f"{PCE},GI123456")
    assert {right["id_pce"] for right in grdf.rights()} == {PCE, "GI123456"}


def test_a_holder_who_names_no_meter_has_an_unused_home(grdf: GasCaller) -> None:
    grdf.callback()
    grdf.callback()
    pces = [right["id_pce"] for right in grdf.rights()]
    assert len(set(pces)) == 2 and all(len(pce) == 14 for pce in pces)
    grdf.admin("switches", {"chosen": ["GI123456"]})
    grdf.callback()
    assert [right["id_pce"] for right in grdf.rights()] == [*pces, "GI123456"]


@pytest.mark.parametrize("missing", ["state", "redirect_uri", "scope", "client_id"])
def test_the_page_refuses_a_request_that_lacks_something(grdf: GasCaller, missing: str) -> None:
    assert grdf.authorize(**{missing: ""}).status_code == 400


def _exchange(grdf: GasCaller, code: str) -> dict[str, str]:
    answer = grdf.ask_token(grant_type="authorization_code", code=code, redirect_uri=CALLBACK)
    assert answer.status_code == 200, answer.text
    body: dict[str, str] = answer.json()
    return body
