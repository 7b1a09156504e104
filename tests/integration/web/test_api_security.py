"""The API against bad tokens, forged sessions and too many calls, and no secret in any answer or log.

Who may call which route is the table of test_access.py.
"""

from __future__ import annotations

import base64
import json
import logging
import re
import zlib
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr

from tests.support.api_service import ApiService, ApiServices, open_api_service
from tests.support.factories import NOW
from tests.support.registries import close_account
from worker.domain.account import AccountState
from worker.domain.sessions import Scope
from worker.runtime.web_access import build_web
from worker.web.api import callers as auth
from worker.web.api.callers import CSRF_HEADER
from worker.web.dependencies import SESSION_COOKIE, Session, open_session

METER = "30001640000011"
READ_PATHS = (
    "/api/accounts",
    "/api/accounts/{id}",
    "/api/accounts/{id}/status",
    "/api/accounts/{id}/progress",
    "/api/accounts/{id}/measures",
    "/api/accounts/{id}/measures?format=csv",
)


@pytest.fixture
def service(kept_apis: ApiServices) -> ApiService:
    return kept_apis.new()


# A household does these with its own account alone, and only by its own page.
OF_A_PAGE = [("POST", "/api/accounts/{id}/stop"), ("DELETE", "/api/accounts/{id}")]


@pytest.mark.parametrize(("method", "path"), OF_A_PAGE)
def test_a_household_ends_its_own_account_only_with_the_pages_csrf_value(
    service: ApiService, method: str, path: str
) -> None:
    account_id = service.add()
    browser, other = service.browser(account_id), service.browser(account_id)
    for forged in (None, "", "0" * 64, other.headers[CSRF_HEADER]):
        without = TestClient(
            service.app, cookies=dict(browser.cookies), headers={CSRF_HEADER: forged} if forged else {}
        )
        refused = without.request(method, path.format(id=account_id))
        assert (refused.status_code, refused.json()["error"]) == (403, "csrf_needed")
    assert service.parts.stores.registry.accounts.get(account_id).active
    assert browser.request(method, path.format(id=account_id)).status_code == 200
    ended = AccountState.DELETED if method == "DELETE" else AccountState.ACTION_NEEDED
    assert service.parts.stores.registry.accounts.get(account_id).state is ended


def test_a_stopped_account_is_not_resumed_and_stopping_again_changes_nothing(service: ApiService) -> None:
    account_id = service.add()
    client = service.client()
    for _ in range(2):
        stopped = client.post(f"/api/accounts/{account_id}/stop")
        assert (stopped.status_code, stopped.json()["reason"]) == (200, "CONSENT_STOPPED")
    resumed = client.post(f"/api/accounts/{account_id}/resume")
    assert (resumed.status_code, resumed.json()["error"]) == (409, "wrong_state")
    assert service.parts.stores.registry.accounts.get(account_id).reason == "CONSENT_STOPPED"


@pytest.mark.parametrize("way", ["pause", "resume", "stop"])
def test_a_closed_account_is_neither_paused_nor_resumed_nor_stopped(service: ApiService, way: str) -> None:
    account_id = service.add()
    close_account(service.parts.stores.registry.consents, account_id, NOW)
    answer = service.client().post(f"/api/accounts/{account_id}/{way}")
    assert (answer.status_code, answer.json()["error"]) == (409, "wrong_state")
    assert "another person holds this meter" in answer.json()["message"]
    assert service.parts.stores.registry.accounts.get(account_id).state is AccountState.CLOSED


def test_a_session_sealed_under_another_key_is_nobodys(service: ApiService) -> None:
    settings = service.parts.stores.settings.model_copy(
        update={"session_key": SecretStr("another-key-just-as-long-as-the-true-one")}
    )
    parts = service.parts
    access = build_web(replace(parts.stores, settings=settings))
    account = service.parts.stores.registry.accounts.get(service.add())
    _, forged = open_session(access, Session(), [account], "")
    for cookie in (forged, "x.y.z"):
        assert TestClient(service.app, cookies={SESSION_COOKIE: cookie}).get("/api/accounts").status_code == 401


def test_a_bad_token_is_refused_even_beside_a_good_session(service: ApiService) -> None:
    browser = service.browser(service.add())
    assert browser.get("/api/accounts", headers={"Authorization": "Bearer wrong"}).status_code == 401


@pytest.mark.parametrize("scheme", ["Basic", "Token", ""])
def test_a_token_under_another_scheme_is_refused(service: ApiService, scheme: str) -> None:
    refused = TestClient(service.app).get(
        "/api/accounts", headers={"Authorization": f"{scheme} {service.token()}".strip()}
    )
    assert refused.status_code == 401


def test_a_revoked_token_and_one_past_its_end_open_nothing(service: ApiService) -> None:
    token, text = service.parts.stores.registry.api_tokens.create("gone", [Scope.READ_ACCOUNTS])
    past = service.token(expires_in=timedelta(microseconds=1))
    service.parts.stores.registry.api_tokens.revoke(token.id)
    for bad in (text, past):
        refused = TestClient(service.app).get("/api/accounts", headers={"Authorization": f"Bearer {bad}"})
        assert refused.status_code == 401
        assert 'error="invalid_token"' in refused.headers["WWW-Authenticate"]


@pytest.mark.parametrize("name", ["token", "access_token", "authorization", "api_key"])
def test_a_token_in_the_address_opens_nothing(service: ApiService, name: str) -> None:
    text = service.token()
    for value in (text, f"Bearer {text}"):
        assert service.stranger().get("/api/accounts", params={name: value}).status_code == 401


def test_no_answer_leads_to_an_address_with_a_token(service: ApiService) -> None:
    client = service.client()
    text = client.headers["Authorization"].partition(" ")[2]
    ids = [service.add(number) for number in range(11, 14)]
    service.store_days(ids[0], service.parts.sync.history.today() - timedelta(days=4), [1, 2, 3])
    answers = [client.get("/api/accounts?limit=1"), client.get(f"/api/accounts/{ids[0]}/measures?limit=1")]
    for answer in answers:
        assert answer.json()["next"]
        assert text not in answer.text + str(answer.headers)


# Limits


def test_trying_tokens_is_slowed_and_logged_without_them(service: ApiService, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "releve.api"):
        tried = [f"releve_{'a' * 12}_{number:043}" for number in range(40)]
        answers = [
            service.stranger().get("/api/accounts", headers={"Authorization": f"Bearer {text}"}) for text in tried
        ]
    statuses = [answer.status_code for answer in answers]
    assert statuses == [401] * auth.BAD_TOKENS.calls + [429] * (40 - auth.BAD_TOKENS.calls)
    assert int(answers[-1].headers["Retry-After"]) > 1
    assert len(caplog.records) == auth.BAD_TOKENS.calls  # Beyond the limit, tries write no more lines.
    assert "blocked=true" in caplog.text
    assert not any(text in caplog.text or text.rpartition("_")[2] in caplog.text for text in tried)


def test_m6b_ten_services_are_served_from_the_address_of_a_guesser(service: ApiService) -> None:
    services = [service.client() for _ in range(10)]
    guesser = service.stranger()
    for number in range(3 * auth.BAD_TOKENS.calls):
        guesser.get("/api/accounts", headers={"Authorization": f"Bearer releve_{'a' * 12}_{number:043}"})
    assert [one.get("/api/accounts").status_code for one in services] == [200] * 10
    assert guesser.get("/api/accounts", headers={"Authorization": "Bearer wrong"}).status_code == 429


def test_m6b_a_token_whose_id_is_tried_from_many_addresses_is_heard(service: ApiService) -> None:
    text = service.token()
    wrong, statuses = f"{text[:20]}{'a' * 43}", []
    for number in range(auth.BAD_TOKENS_OF_ID.calls + 5):
        guesser = TestClient(service.app, client=(f"192.0.2.{number}", 4711))
        statuses.append(guesser.get("/api/accounts", headers={"Authorization": f"Bearer {wrong}"}).status_code)
    assert statuses == [401] * auth.BAD_TOKENS_OF_ID.calls + [429] * 5
    assert service.stranger().get("/api/accounts", headers={"Authorization": f"Bearer {text}"}).status_code == 200


def test_a_blocked_address_does_not_block_browsers_behind_it(service: ApiService) -> None:
    browser = service.browser(service.add())
    for _ in range(12):
        service.stranger().get("/api/accounts", headers={"Authorization": "Bearer wrong"})
    assert browser.get("/api/accounts").status_code == 200


def test_each_token_and_each_session_has_its_own_rate(redis_url: str, tmp_path: Path) -> None:
    with open_api_service(redis_url, tmp_path, api_calls_per_minute=3) as service:
        account_id = service.add()
        for caller in (service.client(), service.client(), service.browser(account_id), service.browser(account_id)):
            answers = [caller.get("/api/accounts") for _ in range(5)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
            left = [re.fullmatch(r'"api";r=(\d);t=\d+', answer.headers["RateLimit"]) for answer in answers]
            assert [match and match[1] for match in left] == ["2", "1", "0", "0", "0"]
            assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"api";q=3;w=60'}
        refused = caller.get("/api/accounts")
        assert refused.json()["error"] == "too_many_requests"
        assert 0 < int(refused.headers["Retry-After"]) <= 120


def test_strangers_are_slowed_by_address(service: ApiService) -> None:
    statuses = [service.stranger().get("/api/accounts").status_code for _ in range(auth.ANONYMOUS_CALLS.calls + 5)]
    assert statuses == [401] * auth.ANONYMOUS_CALLS.calls + [429] * 5


# What leaves the service


def test_no_answer_holds_a_meters_number(
    service: ApiService, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.web.dependencies.enqueue_backfill", lambda *_, **__: None)
    client, texts = service.client(), []
    with caplog.at_level(logging.DEBUG, "releve"):
        account_id = client.post("/api/accounts", json={"usage_point": METER}).json()["account"]
        browser = service.browser(account_id)
        service.store_days(account_id, service.parts.sync.history.today() - timedelta(days=2), [1000])
        for who in (client, browser):
            texts += [who.get(path.format(id=account_id)).text for path in READ_PATHS]
        texts += [client.delete(f"/api/accounts/{account_id}").text]
    assert METER not in "".join(texts) + caplog.text
    assert METER[-4:] in texts[len(texts) // 2]  # The list of its own household.


def test_every_answer_carries_the_security_headers(service: ApiService) -> None:
    client, account_id = service.client(), service.add()
    for path in (
        "/api/accounts",
        f"/api/accounts/{account_id}/measures?format=csv",
        "/api/nothing",
        "/api/openapi.json",
    ):
        headers = client.get(path).headers
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"


def test_an_added_accounts_backfill_is_in_the_queue(service: ApiService) -> None:
    redis, queue = service.parts.stores.redis, "releve:celery:control"
    added = service.client().post("/api/accounts", json={"usage_point": METER}).json()
    message = json.loads(redis.lpop(queue))  # Ours is the last one that came in.
    body = zlib.decompress(base64.b64decode(message["body"])).decode()
    assert message["headers"]["task"] == "tasks.backfill.backfill_account"
    assert json.loads(body)[0] == [added["account"]]
    assert METER not in body + json.dumps(message)


def test_a_strangers_long_body_is_not_even_read(service: ApiService) -> None:
    stranger = service.stranger()
    long = stranger.post("/api/accounts", content=b"x" * 20_000)
    assert (long.status_code, long.json()["error"]) == (413, "too_large")
    in_pieces = stranger.post("/api/accounts", content=iter([b"x"] * 10))
    assert (in_pieces.status_code, in_pieces.json()["error"]) == (411, "length_required")
