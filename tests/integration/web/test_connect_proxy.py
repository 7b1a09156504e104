"""The OAuth proxy: a Cozy stack goes through its code flow, and what the proxy refuses."""

from __future__ import annotations

import base64
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.connect_service import (
    CREDENTIALS,
    METER,
    OTHER,
    ConnectServers,
    ConnectService,
    changed,
    open_connect_service,
    query_of,
)
from worker.simulator.options import CLIENT_ID, CLIENT_SECRET

ORIGINS = "https://*.cozy.example, https://stack.example:8443"
CALLER = "https://alice.cozy.example/accounts/enedis/redirect"
STATE = "of the stack " + "s" * 300  # Longer than the supplier takes.


@pytest.fixture
def connect_settings() -> dict[str, str]:
    return {"proxy_origins": ORIGINS}


def authorization(**changes: str | None) -> dict[str, str]:
    parameters = {
        "client_id": CLIENT_ID,
        "response_type": "code",
        "scope": "openid",
        "state": STATE,
        "redirect_uri": CALLER,
        "usage_point_id": METER,
        **changes,
    }
    return {name: value for name, value in parameters.items() if value is not None}


def begun(service: ConnectService, **changes: str | None) -> str:
    """Go through the consent page and return the supplier's callback address."""
    answer = service.browser().get("/proxy/enedis/auth", params=authorization(**changes))
    assert answer.status_code == 302, answer.text
    assert len(query_of(answer.headers["location"])["state"]) <= 100
    return service.agree(answer.headers["location"])


def returned(service: ConnectService, **changes: str | None) -> dict[str, str]:
    """Return the parameters that the caller gets."""
    answer = service.browser().get(begun(service, **changes))
    assert answer.status_code == 302
    address, _, _ = answer.headers["location"].partition("?")
    assert address == CALLER
    return query_of(answer.headers["location"])


def token(service: ConnectService, form: Mapping[str, str], **headers: str) -> Any:
    return service.browser().post("/proxy/enedis/token", data={**CREDENTIALS, **form}, headers=headers)


def exchanged(service: ConnectService, code: str) -> Any:
    answer = token(service, {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLER})
    assert answer.status_code == 200, answer.text
    return answer.json()


def renewed(service: ConnectService, refresh_token: str) -> Any:
    answer = token(service, {"grant_type": "refresh_token", "refresh_token": refresh_token})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_dance_of_a_stack_from_page_to_renewal(service: ConnectService) -> None:
    query = returned(service)
    assert query["state"] == STATE
    assert ("autorisation_id" if service.runtime.settings.preset == "enedis-2026" else "usage_point_id") in query
    first = exchanged(service, query["code"])
    assert first["token_type"] == "Bearer" and type(first["expires_in"]) is int and first["expires_in"] > 0
    assert (first["usage_point_id"], first["usage_points_id"]) == (METER, METER)
    second = renewed(service, first["refresh_token"])
    third = renewed(service, second["refresh_token"])
    assert third["access_token"]
    if service.runtime.clients.account_tokens:
        assert len({first["access_token"], second["access_token"], third["access_token"]}) == 3
    assert service.accounts() == []  # The stack has accounts of its own.


def test_both_addresses_serve_both_kinds_for_the_supplier_knows_only_one(service: ConnectService) -> None:
    back = begun(service)
    elsewhere = back.replace("/proxy/enedis/redirect", "/callback/enedis_parent")
    assert service.browser().get(elsewhere).headers["location"].startswith(f"{CALLER}?")
    browser = service.browser()
    household = service.begin(browser).replace("/callback/enedis", "/proxy/enedis/redirect_parent")
    assert service.come_back(browser, household).headers["location"] == f"/accounts/{service.accounts()[0].id}"


def test_a_callback_loaded_twice_goes_to_the_same_place(service: ConnectService) -> None:
    back = begun(service)
    first, second = service.browser().get(back), service.browser().get(back)
    assert first.headers["location"] == second.headers["location"]
    other = service.browser().get(changed(back, usage_point_id=OTHER, autorisation_id="7", code="mine"))
    assert other.headers["location"] == first.headers["location"]


def test_a_failure_is_handed_on(service: ConnectService) -> None:
    service.simulate("POST", "switches", {"callback": "refused"})
    query = returned(service)
    assert query["state"] == STATE and query["error"] in ("access_denied", "invalid_request")
    assert "code" not in query and "usage_point_id" not in query


@pytest.mark.parametrize("target", [None, "", "https://evil.example/", "https://alice.cozy.example@evil.example/"])
def test_an_address_that_is_not_allowed_is_refused_and_never_followed(v4: ConnectService, target: str | None) -> None:
    answer = v4.browser().get("/proxy/enedis/auth", params=authorization(redirect_uri=target))
    assert answer.status_code == 400 and answer.json()["error"] == "invalid_request"
    assert "location" not in answer.headers


@pytest.mark.parametrize(
    "changes, error",
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"client_id": "another"}, "unauthorized_client"),
        ({"state": None}, "invalid_request"),
        ({"state": "s" * 513}, "invalid_request"),
    ],
)
def test_a_wish_that_is_not_the_seeds_is_refused(v4: ConnectService, changes: dict[str, Any], error: str) -> None:
    answer = v4.browser().get("/proxy/enedis/auth", params=authorization(**changes))
    assert (answer.status_code, answer.json()["error"]) == (400, error)


def test_an_address_told_twice_is_refused(v4: ConnectService) -> None:
    pairs = [*authorization().items(), ("redirect_uri", "https://bob.cozy.example/")]
    assert v4.browser().get("/proxy/enedis/auth", params=pairs).status_code == 400


def test_the_query_of_the_callers_address_is_kept(v4: ConnectService) -> None:
    target = "https://stack.example:8443/back?slug=enedis"
    location = v4.browser().get(begun(v4, redirect_uri=target)).headers["location"]
    assert location.startswith(f"{target}&state=")


@pytest.mark.parametrize(
    "form, status, error",
    [
        ({}, 400, "invalid_request"),
        ({"grant_type": "client_credentials"}, 400, "unsupported_grant_type"),
        ({"grant_type": "authorization_code"}, 400, "invalid_request"),
        ({"grant_type": "refresh_token"}, 400, "invalid_request"),
        ({"grant_type": "authorization_code", "code": "unknown"}, 400, "invalid_grant"),
        ({"grant_type": "refresh_token", "refresh_token": "x", "client_secret": "wrong"}, 401, "invalid_client"),
        ({"grant_type": "refresh_token", "refresh_token": "x", "client_id": "é"}, 401, "invalid_client"),
    ],
)
def test_errors_come_in_oauths_form(service: ConnectService, form: dict[str, str], status: int, error: str) -> None:
    answer = token(service, form)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["cache-control"] == "no-store" and answer.headers["pragma"] == "no-cache"


def test_a_dead_refresh_token_is_an_invalid_grant_for_the_stack(v4: ConnectService) -> None:
    first = exchanged(v4, returned(v4)["code"])
    renewed(v4, first["refresh_token"])
    answer = token(v4, {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]})
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_a_code_of_ours_works_once_and_for_its_caller(v2026: ConnectService) -> None:
    code = returned(v2026)["code"]
    form = {"grant_type": "authorization_code", "code": code}
    stolen = token(v2026, {**form, "redirect_uri": "https://bob.cozy.example/accounts/enedis/redirect"})
    assert stolen.json()["error"] == "invalid_grant"
    assert token(v2026, form).json()["error"] == "invalid_grant"  # The first try has used it up.
    again = returned(v2026)["code"]
    exchanged(v2026, again)
    assert token(v2026, {**form, "code": again}).json()["error"] == "invalid_grant"


def test_a_consent_that_is_not_there_yet_can_be_asked_for_again(v2026: ConnectService) -> None:
    code = returned(v2026)["code"]
    v2026.simulate("POST", "switches", {"services_empty": 3})
    waiting = token(v2026, {"grant_type": "authorization_code", "code": code})
    assert (waiting.status_code, waiting.json()["error"]) == (503, "temporarily_unavailable")
    assert exchanged(v2026, code)["usage_point_id"] == METER


def test_the_supplier_down_is_a_try_again(v4: ConnectService) -> None:
    first = exchanged(v4, returned(v4)["code"])
    v4.simulate("POST", "faults", {"path": "/v1/oauth2/token", "status": 503, "body": "<html>"})
    answer = token(v4, {"grant_type": "refresh_token", "refresh_token": first["refresh_token"]})
    assert (answer.status_code, answer.json()["error"]) == (503, "temporarily_unavailable")
    assert int(answer.headers["retry-after"]) >= 1


def test_credentials_may_come_by_header_but_never_by_address(service: ConnectService) -> None:
    query = returned(service)
    basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    form = {"grant_type": "authorization_code", "code": query["code"]}
    browser = service.browser()
    refused = browser.post("/proxy/enedis/token", params=CREDENTIALS, data=form)
    assert refused.status_code == 401
    broken = browser.post("/proxy/enedis/token", data=form, headers={"Authorization": "Basic %%%"})
    assert broken.status_code == 401 and "www-authenticate" in broken.headers
    done = browser.post("/proxy/enedis/token", data=form, headers={"Authorization": f"Basic {basic}"})
    assert done.status_code == 200


@pytest.mark.parametrize(
    "content, content_type",
    [
        (b'{"grant_type": "refresh_token"}', "application/json"),
        (b"\xff\xfe", "application/x-www-form-urlencoded"),
        (b"grant_type=%ff", "application/x-www-form-urlencoded"),
        (b"grant_type=a&grant_type=b", "application/x-www-form-urlencoded"),
        (b"a=" + b"b" * 20_000, "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % number for number in range(100)), "application/x-www-form-urlencoded"),
    ],
)
def test_a_form_that_is_none_is_refused(v4: ConnectService, content: bytes, content_type: str) -> None:
    answer = v4.browser().post("/proxy/enedis/token", content=content, headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["error"]) in ((400, "invalid_request"), (413, "too_large"))


@pytest.mark.parametrize("path", ["/proxy/grdf/auth", "/proxy/enedis_parent/auth", "/proxy/x/redirect"])
def test_another_supplier_is_refused(v4: ConnectService, path: str) -> None:
    assert v4.browser().get(path, params=authorization()).status_code == 404


def test_without_origins_there_is_no_proxy(servers: ConnectServers, tmp_path: Path) -> None:
    with open_connect_service(servers, tmp_path, "enedis-v5") as service:
        assert service.browser().get("/proxy/enedis/auth", params=authorization()).status_code == 404
        assert token(service, {"grant_type": "refresh_token", "refresh_token": "x"}).status_code == 404


def test_nothing_personal_stays_in_redis_or_logs_in_the_clear(
    service: ConnectService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="releve")
    query = returned(service)
    redis = service.runtime.redis
    content = " ".join(f"{key} {redis.get(key)}" for key in redis.scan_iter("releve:*") if redis.type(key) == "string")
    exchanged(service, query["code"])
    assert METER not in content + caplog.text and query["code"] not in content + caplog.text
    assert CLIENT_SECRET not in caplog.text
