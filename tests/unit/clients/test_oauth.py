"""The client of the token endpoint: requests, answers and refusals of each kind."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any, Literal
from urllib.parse import parse_qs

import pytest
import requests

from tests.support.supplier_server import SECRETS, USAGE_POINT, ClientHarness
from worker.errors import (
    AnswerNotJson,
    ApplicationRefused,
    RateLimited,
    RefreshTokenDead,
    RequestRefused,
    SupplierFault,
    SupplierLimited,
    SupplierUnavailable,
    UnusableToken,
    WorkerError,
)

ANSWER_V1 = {
    "access_token": "access-token-two",
    "token_type": "Bearer",
    "expires_in": 12600,
    "refresh_token": "refresh-token-two",
    "scope": "/v4/metering_data/daily_consumption.GET /v4/metering_data/consumption_load_curve.GET",
    "issued_at": "1706000000000",
    "usage_points_id": f"{USAGE_POINT}, 98765432109877",
}
REFUSALS: list[tuple[int, Any, type[WorkerError]]] = [
    (400, {"error": "invalid_grant", "error_description": "The provided authorization grant ..."}, RefreshTokenDead),
    (400, {"error": "invalid_request", "error_description": "missing_parameter"}, RequestRefused),
    (400, {"error": "invalid_scope"}, RequestRefused),
    (400, {"error": "unsupported_grant_type"}, RequestRefused),
    (400, {"error": "invalid_client"}, ApplicationRefused),
    (400, {"error": "unauthorized_client"}, ApplicationRefused),
    (401, {"error": "Unauthorized", "error_description": "Valid authentication credentials ..."}, ApplicationRefused),
    (401, b"", ApplicationRefused),
    (200, {"error": "Unauthorized", "error_description": "seen through a proxy"}, ApplicationRefused),
    (415, {"error": "unsupported_media_type"}, RequestRefused),
    (429, {"fault": {"code": 900804, "message": "Message throttled out"}}, SupplierLimited),
    (403, b"", AnswerNotJson),
    (403, b"<html>firewall</html>", AnswerNotJson),
    (404, b"<html>firewall</html>", AnswerNotJson),
    (500, {"error": "server_error"}, SupplierFault),
    (503, b"<html>maintenance</html>", SupplierFault),
    (200, b"", AnswerNotJson),
    (200, b'{"access_token": "cut', AnswerNotJson),
    (200, {"id_token": "a.b.c"}, UnusableToken),
    (200, {"access_token": "line\nbreak"}, UnusableToken),
    (200, {"access_token": ""}, UnusableToken),
    (200, {"access_token": None}, UnusableToken),
    (200, {"access_token": "t", "refresh_token": 7}, UnusableToken),
    (200, {"access_token": "t", "expires_in": "soon"}, UnusableToken),
    (200, {"access_token": "t", "expires_in": -5}, UnusableToken),  # L10
    (200, {"access_token": "t", "expires_in": True}, UnusableToken),
    (200, {"access_token": "t", "expires_in": 1e30}, UnusableToken),
    (200, {"access_token": "t", "token_type": "mac"}, UnusableToken),
    (200, {"access_token": "t" * 8193}, UnusableToken),  # M7
    (200, b'{"access_token": "t", "expires_in": Infinity}', UnusableToken),
]


def form(harness: ClientHarness) -> dict[str, list[str]]:
    return parse_qs(harness.supplier.calls[-1].request.body)


def test_a_code_brings_tokens_and_usage_points_for_credentials_in_the_form(v4: ClientHarness) -> None:
    v4.answer_token(200, ANSWER_V1)
    grant = v4.oauth.exchange_code("c0de")
    assert (grant.token.access, grant.token.refresh) == ("access-token-two", "refresh-token-two")
    assert grant.extras["usage_points_id"] == ANSWER_V1["usage_points_id"]
    assert not {"access_token", "refresh_token", "expires_at"} & grant.extras.keys()
    assert grant.digest == hashlib.sha256(json.dumps(ANSWER_V1).encode()).hexdigest()
    assert form(v4) == {
        "grant_type": ["authorization_code"],
        "client_id": ["our-client"],
        "client_secret": [SECRETS[0]],
        "code": ["c0de"],
    }
    assert "Authorization" not in v4.supplier.calls[-1].request.headers


def test_a_code_is_exchanged_with_our_callback_where_the_supplier_wants_it_again(adict: ClientHarness) -> None:
    adict.answer_token(200, {"access_token": "t", "id_token": "a.b.c"})
    assert adict.oauth.exchange_code("c0de", "https://releve.example/callback/grdf").extras["id_token"] == "a.b.c"
    assert form(adict) == {
        "grant_type": ["authorization_code"],
        "client_id": ["our-client"],
        "client_secret": [SECRETS[0]],
        "code": ["c0de"],
        "redirect_uri": ["https://releve.example/callback/grdf"],
    }


def test_a_refresh_token_brings_the_next_pair(v4: ClientHarness) -> None:
    v4.answer_token(200, ANSWER_V1)
    assert v4.oauth.refresh("refresh-token-one").token.refresh == "refresh-token-two"
    assert form(v4) == {
        "grant_type": ["refresh_token"],
        "refresh_token": ["refresh-token-one"],
        "client_id": ["our-client"],
        "client_secret": [SECRETS[0]],
    }


def test_a_refresh_answer_without_a_new_refresh_token_keeps_the_old(v4: ClientHarness) -> None:
    v4.answer_token(200, {"access_token": "access-token-two"})
    assert v4.oauth.refresh("refresh-token-one").token.refresh == "refresh-token-one"


@pytest.mark.parametrize("expiry", [12600, "12600", 12600.0])
@pytest.mark.parametrize("scope", [{}, {"scope": ""}, {"scope": "am_application_scope default"}, {"scope": 5}])
def test_the_applications_token_is_asked_with_a_basic_header(
    v5: ClientHarness, monkeypatch: pytest.MonkeyPatch, expiry: Any, scope: dict[str, Any]
) -> None:
    monkeypatch.setattr("worker.clients.oauth.time.time", lambda: 1000.5)
    v5.answer_token(200, {"access_token": "eyJ.e30.c2ln", "token_type": "Bearer", "expires_in": expiry, **scope})
    token = v5.oauth.application_token()
    assert (token.access, token.refresh, token.expires_at) == ("eyJ.e30.c2ln", None, 13600)
    assert form(v5) == {"grant_type": ["client_credentials"]}
    basic = base64.b64encode(f"our-client:{SECRETS[0]}".encode()).decode()
    assert v5.supplier.calls[-1].request.headers["Authorization"] == f"Basic {basic}"


def test_an_answer_without_expiry_makes_a_token_without_end(v5: ClientHarness) -> None:
    v5.answer_token(200, {"access_token": "t"})
    assert v5.oauth.application_token().expires_at is None


@pytest.mark.parametrize("status, body, kind", REFUSALS)
def test_each_refusal_says_what_to_do(harness: ClientHarness, status: int, body: Any, kind: type[WorkerError]) -> None:
    for ask in (
        lambda: harness.oauth.refresh("refresh-token-one"),
        lambda: harness.oauth.exchange_code("c0de"),
        harness.oauth.application_token,
    ):
        harness.supplier.reset()
        harness.answer_token(status, body)
        with pytest.raises(kind) as caught:
            ask()
        assert type(caught.value) is kind


@pytest.mark.parametrize("failure", [requests.ConnectionError, requests.ReadTimeout, requests.TooManyRedirects])
def test_an_answer_that_never_came_is_an_outage(v4: ClientHarness, failure: type[Exception]) -> None:
    v4.answer_token(200, failure(f"https://host/?{SECRETS[0]}"))
    with pytest.raises(SupplierUnavailable, match=failure.__name__):
        v4.oauth.refresh("refresh-token-one")


def test_token_calls_take_permits_under_a_name_of_their_own(harness: ClientHarness) -> None:
    harness.answer_token(429, b"<html>")
    with pytest.raises(RateLimited):
        harness.oauth.application_token()
    assert (harness.permits.requested_apis, harness.permits.closed_for_s) == (["token"], [60.0])
    assert harness.permits.closed_by == ["permit 1"]


def test_a_gateway_that_throttles_token_calls_is_waited_for_as_long_as_it_says(v4: ClientHarness) -> None:
    fault = {"code": 900804, "message": "Message throttled out", "nextAccessTime": "2099-Jan-17 05:00:00+0000 UTC"}
    v4.answer_token(429, {"fault": fault})
    with pytest.raises(RateLimited):
        v4.oauth.refresh("refresh-token-one")
    assert v4.permits.closed_for_s == [86_400]  # No wait is longer.


def test_a_token_call_that_never_left_gives_its_permit_back(v4: ClientHarness) -> None:
    v4.answer_token(200, requests.ConnectTimeout("host"))
    with pytest.raises(SupplierUnavailable):
        v4.oauth.refresh("refresh-token-one")
    assert v4.permits.released == ["permit 1"]


@pytest.mark.parametrize("kind", ["refresh_token", "access_token"])
def test_a_token_is_revoked_with_the_credentials_in_the_form(
    v4: ClientHarness, kind: Literal["refresh_token", "access_token"]
) -> None:
    v4.supplier.add("POST", str(v4.endpoints.revoke_url), body=b"")
    v4.oauth.revoke("refresh-token-one", kind)
    assert form(v4) == {
        "token": ["refresh-token-one"],
        "token_type_hint": [kind],
        "client_id": ["our-client"],
        "client_secret": [SECRETS[0]],
    }
    assert "Authorization" not in v4.supplier.calls[-1].request.headers
    assert v4.permits.requested_apis == ["token"]


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (503, b"<html>maintenance</html>", SupplierFault),
        (404, b"<html>firewall</html>", AnswerNotJson),
        (302, b"", AnswerNotJson),
        (400, b'{"error": "unsupported_token_type"}', RequestRefused),
        (401, b"", ApplicationRefused),
        (429, b'{"fault": {"code": 900804}}', SupplierLimited),
    ],
)
def test_a_revocation_that_is_refused_says_why_and_names_no_token(
    v4: ClientHarness, status: int, body: bytes, kind: type[WorkerError]
) -> None:
    v4.supplier.add("POST", str(v4.endpoints.revoke_url), status=status, body=body)
    with pytest.raises(kind) as refusal:
        v4.oauth.revoke("refresh-token-one", "refresh_token")
    assert not [secret for secret in (*SECRETS, "refresh-token-one") if secret in str(refusal.value)]


def test_the_application_has_no_token_of_a_user_to_revoke(v5: ClientHarness) -> None:
    assert v5.endpoints.revoke_url is None
    with pytest.raises(ValueError, match="revokes no tokens"):
        v5.oauth.revoke("token", "access_token")
