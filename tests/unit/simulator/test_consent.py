"""Consent, callback, tokens and the exchange of an authorisation."""

from __future__ import annotations

import pytest

from simulator.enedis_authorization import USUAL_CALLBACK
from simulator.switches import SimulatorOptions
from tests.support.enedis_caller import CALLBACK, HOME, NOW, PATHS, SimulatorCaller, error_of


def test_a_callback_brings_the_home_hinted_at_or_another_and_runs_repeat(supplier: SimulatorCaller) -> None:
    callback = supplier.callback(state="abc", usage_point_id=HOME)
    assert set(callback) == {"code", "state", "usage_point_id"}
    assert (callback["state"], callback["usage_point_id"]) == ("abc", HOME)
    first = [supplier.callback()["usage_point_id"] for _ in range(3)]
    again = SimulatorCaller()
    assert len(set(first)) == 3
    assert [again.callback()["usage_point_id"] for _ in range(3)] == first


def test_p24_without_a_registered_callback_the_one_in_the_query_or_the_usual_one_is_taken() -> None:
    supplier = SimulatorCaller(SimulatorOptions(pretend_now=NOW))
    assert supplier.authorize().headers["location"].startswith(f"{USUAL_CALLBACK}?code=")
    answer = supplier.authorize(redirect_uri="http://localhost:9000/back?x=1")
    assert answer.headers["location"].startswith("http://localhost:9000/back?x=1&code=")


@pytest.mark.parametrize(
    ("changes", "status", "text"),
    [
        ({"duration": ""}, 400, "missing_parameter"),
        ({"duration": "1Y"}, 400, "invalid_duration_format"),
        ({"duration": "PT5H"}, 500, "lincs-internal-server-error"),
        ({"duration": "P4Y"}, 400, "maximum_duration_exceeded"),
        ({"state": "x" * 101}, 400, "missing_parameter"),
        ({"client_id": "somebody"}, 403, "access_denied"),
    ],
)
def test_the_page_itself_refuses_a_malformed_request(
    supplier: SimulatorCaller, changes: dict[str, str], status: int, text: str
) -> None:
    answer = supplier.authorize(**changes)
    assert (answer.status_code, answer.json()["error_description"]) == (status, text)


def test_the_page_asks_where_it_is_told_to() -> None:
    supplier = SimulatorCaller(SimulatorOptions(pretend_now=NOW, redirect_uri=CALLBACK, consent_page=True))
    page = supplier.authorize(state='"><script>')
    assert page.status_code == 200
    assert "<script>" not in page.text
    assert supplier.callback(decision="refuse")["error"] == "access_denied"
    assert "code" in supplier.callback(decision="approve")


def test_a_code_works_once_and_for_three_minutes(supplier: SimulatorCaller) -> None:
    code, late_code = supplier.callback(usage_point_id=HOME)["code"], supplier.callback()["code"]
    body = supplier.user_token(grant_type="authorization_code", code=code).json()
    assert (body["expires_in"], body["token_type"], body["usage_points_id"]) == (12600, "Bearer", HOME)
    supplier.admin("clock", {"advance_s": 181})
    for used_up in (code, late_code):
        answer = supplier.user_token(grant_type="authorization_code", code=used_up)
        assert error_of(answer) == (400, "invalid_grant")


def test_a_token_can_leave_out_whose_meter_it_is_for(supplier: SimulatorCaller) -> None:
    supplier.admin("switches", {"token_without_meter": True})
    code = supplier.callback(usage_point_id=HOME)["code"]
    body = supplier.user_token(grant_type="authorization_code", code=code).json()
    assert "usage_points_id" not in body and body["access_token"]


def test_a_refresh_token_works_once_and_brings_the_next(supplier: SimulatorCaller) -> None:
    code = supplier.callback(usage_point_id=HOME)["code"]
    first = supplier.user_token(grant_type="authorization_code", code=code).json()
    second = supplier.user_token(grant_type="refresh_token", refresh_token=first["refresh_token"]).json()
    assert second["refresh_token"] != first["refresh_token"]
    used = supplier.user_token(grant_type="refresh_token", refresh_token=first["refresh_token"])
    assert error_of(used) == (400, "invalid_grant")
    assert supplier.user_token(grant_type="refresh_token", refresh_token=second["refresh_token"]).status_code == 200
    assert supplier.report()["tokens"] == {"authorization_code": 1, "refresh_token": 2}


@pytest.mark.parametrize("generation", ["v4", "v5"])
def test_an_access_token_expires_by_the_simulated_clock(supplier: SimulatorCaller, generation: str) -> None:
    token = supplier.bearer(generation)
    supplier.admin("clock", {"advance_s": 12_500})
    assert supplier.request_measures(generation=generation, token=token).status_code == 200
    supplier.admin("clock", {"advance_s": 101})
    assert supplier.request_measures(generation=generation, token=token).status_code in (401, 403)


def test_credentials_are_taken_from_header_or_form_and_must_be_ours(supplier: SimulatorCaller) -> None:
    pair = (supplier.options.client_id, supplier.options.client_secret)
    form = {"grant_type": "client_credentials"}
    assert supplier.http.post("/oauth2/v3/token", data=form, auth=pair).status_code == 200
    assert supplier.http.post("/oauth2/v3/token", data=form | supplier.credentials).status_code == 200
    wrong = supplier.http.post("/oauth2/v3/token", data=form, auth=(pair[0], "wrong"))
    assert error_of(wrong) == (401, "Unauthorized")
    assert error_of(supplier.http.post("/v1/oauth2/token", data=form)) == (401, "Unauthorized")
    assert error_of(supplier.http.post("/oauth2/v3/token", data=supplier.credentials)) == (400, "invalid_request")
    assert supplier.http.post("/oauth2/v3/token", json=form).status_code == 415


def test_a_consent_ends_with_its_duration(supplier: SimulatorCaller) -> None:
    supplier.callback(usage_point_id=HOME, duration="P2D")
    assert supplier.request_measures().status_code == 200
    supplier.admin("clock", {"advance_s": 2 * 86_400})
    supplier.tokens.clear()
    assert error_of(supplier.request_measures()) == (403, "ADAM-DC-0008")
    supplier.callback(usage_point_id=HOME)
    assert supplier.request_measures().status_code == 200


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_newest_callback_is_exchanged_for_the_usage_point(supplier: SimulatorCaller, slash: str) -> None:
    callback = supplier.callback(2, usage_point_id=HOME)
    assert set(callback) == {"autorisation_id", "state"}
    body = _exchange(supplier, int(callback["autorisation_id"]), slash).json()
    assert {service["pointId"] for service in body["serviceSouscrit"]} == {HOME}
    assert body["nbTotalServices"] == len(body["serviceSouscrit"]) == 5
    assert supplier.callback(2, usage_point_id=HOME)["autorisation_id"] == callback["autorisation_id"]
    assert supplier.callback(2)["autorisation_id"] != callback["autorisation_id"]


def test_an_exchange_can_be_too_early(supplier: SimulatorCaller) -> None:
    number = int(supplier.callback(2)["autorisation_id"])
    supplier.admin("switches", {"services_empty": 1})
    assert error_of(_exchange(supplier, number)) == (400, "Bad request")
    assert _exchange(supplier, number).json()["nbTotalServices"] == 5


def test_an_exchange_outside_the_swagger_is_a_fault(supplier: SimulatorCaller) -> None:
    assert _exchange(supplier, "900001").status_code == 500
    assert _exchange(supplier, 7).json() == {"nbTotalServices": 0}


def test_durations_in_use_are_taken_and_whole_years_can_be_refused(supplier: SimulatorCaller) -> None:
    for duration in ("P3Y", "P36M", "P1095D", "P6M", "P1Y4M", "P2W"):
        assert supplier.authorize(2, duration=duration).status_code == 302
    supplier.admin("switches", {"whole_years_refused": True})
    assert supplier.authorize(2, duration="P1Y").status_code == 400
    assert supplier.authorize(2, duration="P12M").status_code == 302


def _exchange(supplier: SimulatorCaller, number: object, slash: str = "", **more: object):  # type: ignore[no-untyped-def]
    return supplier.http.post(
        f"/subscribed_services/v1{slash}",
        json={"autorisationId": number, "comptage": False} | more,
        headers={"Authorization": f"Bearer {supplier.bearer('2026')}"},
    )


def test_a_revoked_token_is_refused_and_one_that_is_unknown_is_no_error(supplier: SimulatorCaller) -> None:
    code = supplier.callback(usage_point_id=HOME)["code"]
    tokens = supplier.user_token(grant_type="authorization_code", code=code).json()
    question = {"usage_point_id": HOME, "start": "2024-11-01", "end": "2024-11-02"}
    assert supplier.get(PATHS["v4", "daily"], question, tokens["access_token"]).status_code == 200
    for token in (tokens["refresh_token"], tokens["access_token"], "unknown"):
        assert supplier.revoke(token).status_code == 200
    assert supplier.get(PATHS["v4", "daily"], question, tokens["access_token"]).status_code in (401, 403)
    used = supplier.user_token(grant_type="refresh_token", refresh_token=tokens["refresh_token"])
    assert error_of(used) == (400, "invalid_grant")
    assert supplier.report()["tokens"] == {"authorization_code": 1, "revoke": 3}
    assert error_of(supplier.revoke("")) == (400, "invalid_request")
