"""The operator's page: its password, the limit of tries, and the state of the fleet without any account's name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.support.api_service import TODAY, ApiService, open_api_service
from tests.support.factories import NOW
from tests.support.household_pages import csrf_of
from worker.app import enqueue_backfill, queue_lengths
from worker.domain.consent.accounts import AccountState
from worker.domain.consent.connection_requests import ConnectionRequest, RequestState
from worker.domain.measures.completeness import COMPLETE
from worker.domain.measures.series import Series
from worker.runtime.supplier import ledger_of
from worker.stores.registry.completeness import HourFreshness
from worker.web.sessions import OPERATOR_COOKIE

PASSWORD = "correct horse battery staple"
ENGLISH = {"Accept-Language": "en"}


@pytest.fixture
def service(redis_url: str, tmp_path: Path) -> Iterator[ApiService]:
    with open_api_service(redis_url, tmp_path, operator_password=PASSWORD) as built:
        yield built


def log_in(browser: TestClient, password: str = PASSWORD) -> Response:
    csrf = csrf_of(browser.get("/operator", headers=ENGLISH).text)
    return browser.post("/operator/login", data={"csrf": csrf, "password": password}, headers=ENGLISH)


def test_without_a_password_set_the_page_is_closed(redis_url: str, tmp_path: Path) -> None:
    with open_api_service(redis_url, tmp_path) as service:
        browser = service.stranger()
        assert browser.get("/operator").status_code == 404
        assert browser.post("/operator/login", data={"password": ""}).status_code == 403


def test_with_gas_the_quota_and_gate_of_each_supplier_are_told(redis_url: str, tmp_path: Path) -> None:
    gas = {"grdf_client_id": "id", "grdf_client_secret": "secret", "grdf_url": "http://127.0.0.1:9"}
    with open_api_service(redis_url, tmp_path, operator_password=PASSWORD, **gas) as service:
        runtime = service.runtime
        preset = runtime.clients_of("grdf").endpoints.preset
        ledger = ledger_of(preset, runtime.settings, runtime.redis)
        runtime.redis.flushdb()
        assert ledger.try_permit("data").permit
        ledger.close_gate(90)
        browser = service.stranger()
        text = " ".join(re.sub(r"<[^>]+>", " ", log_in(browser).text).split())
    told = text[text.index("Quota of GRDF") :]
    assert "Calls granted within the last 24 hours." in told and "grdf-adict" in told
    assert "1 / 6,000" in told and "closed for 90 s more" in told
    assert "Gate: open" in text[: text.index("Quota of GRDF")], "the other supplier's gate is its own"


def test_without_gas_the_page_says_nothing_of_it(service: ApiService) -> None:
    page = log_in(service.stranger()).text
    assert "GRDF" not in page and "grdf" not in page and "gas" not in page


def test_an_open_incident_is_told_of(service: ApiService) -> None:
    browser = service.stranger()
    log_in(browser)
    assert "Incident:" not in browser.get("/operator", headers=ENGLISH).text
    service.runtime.incidents.open_by_hand()
    assert browser.get("/operator", headers=ENGLISH).text.count("by_hand, since ") == 2


def test_the_page_tells_states_freshness_quota_gate_errors_and_queues(service: ApiService) -> None:
    ids = [service.add(number) for number in (11, 12, 13, 14)]
    service.runtime.registry.set_state(ids[3], AccountState.ACTION_NEEDED, "LOGIN_FAILED", now=NOW)
    for account_id, days_ago, code in ((ids[0], 1, None), (ids[1], 1, "VENDOR_DOWN"), (ids[2], 4, None)):
        last_day = TODAY - timedelta(days=days_ago)
        service.runtime.registry.outcomes.record(
            account_id,
            Series.DAILY,
            "r1",
            NOW,
            code=code,
            message="",
            last_day=last_day,
            stored=True,
            days={last_day: COMPLETE},
        )
    table = service.runtime.registry.completeness
    for hours, complete in ((30, 9), (3, 6), (2, 9)):
        table.save_freshness(HourFreshness(NOW - timedelta(hours=hours), Series.DAILY, 12, complete))
    service.runtime.ledger.try_permit("mesure_synchrone_auto")
    service.runtime.ledger.close_gate(120)
    enqueue_backfill(ids[0], broker_url=service.runtime.broker_url)
    browser = service.stranger()
    page = log_in(browser)
    assert page.status_code == 200
    text = " ".join(re.sub(r"<[^>]+>", " ", page.text).split())
    assert "Active 3" in text and "To be reconnected 1" in text
    assert "66.7% · 2 / 3" in text and "0% · 0 / 3" in text
    assert "25 Jul 2024, 06:00 50% 25 Jul 2024, 07:00 75%" in text and "24 Jul 2024, 03:00" not in text
    assert "VENDOR_DOWN Daily totals 1" in text and "VENDOR_DOWN Nothing: it is asked again by itself." in text
    assert "0.1% · 1 / 1,000" in text and "closed for" in text
    assert (
        f"control {queue_lengths(service.runtime.broker_url)['control']}" in text
        and queue_lengths(service.runtime.broker_url)["control"] >= 1
    )
    assert not any(account_id in page.text for account_id in ids), "no account by name"
    service.runtime.redis.flushdb()


def test_a_wrong_password_opens_nothing(service: ApiService) -> None:
    browser = service.stranger()
    refused = log_in(browser, "guess")
    assert refused.status_code == 403 and "not the right password" in refused.text
    assert "State of the fleet" not in browser.get("/operator", headers=ENGLISH).text


def test_guessing_is_slowed_down_even_for_the_right_password(service: ApiService) -> None:
    browser = service.stranger()
    statuses = [log_in(browser, f"guess {rank}").status_code for rank in range(7)]
    assert statuses == [403] * 5 + [429] * 2
    late = log_in(browser)
    assert late.status_code == 429 and int(late.headers["retry-after"]) > 0


def test_a_password_without_our_forms_field_is_not_looked_at(service: ApiService) -> None:
    browser = service.stranger()
    browser.get("/operator")
    assert browser.post("/operator/login", data={"password": PASSWORD}).status_code == 403
    assert "State of the fleet" not in browser.get("/operator", headers=ENGLISH).text


def test_the_login_gives_a_new_cookie_for_the_operators_pages_alone(service: ApiService) -> None:
    browser = service.stranger()
    before = browser.get("/operator").cookies[OPERATOR_COOKIE]
    csrf = csrf_of(browser.get("/operator").text)
    entered = browser.post("/operator/login", data={"csrf": csrf, "password": PASSWORD}, follow_redirects=False)
    assert entered.status_code == 303 and entered.cookies[OPERATOR_COOKIE] != before
    cookie = entered.headers["set-cookie"]
    assert "HttpOnly" in cookie and "Path=/operator" in cookie and "samesite=lax" in cookie.lower()
    planted = TestClient(service.app, cookies={OPERATOR_COOKIE: before})
    assert "State of the fleet" not in planted.get("/operator", headers=ENGLISH).text


def test_a_households_session_is_no_operators(service: ApiService) -> None:
    browser = service.browser(service.add(11))
    browser.cookies.set(OPERATOR_COOKIE, browser.cookies["releve_session"])
    assert "State of the fleet" not in browser.get("/operator", headers=ENGLISH).text


def test_leaving_closes_the_page_and_needs_our_form(service: ApiService) -> None:
    browser = service.stranger()
    page = log_in(browser).text
    assert browser.post("/operator/logout").status_code == 403
    assert "State of the fleet" in browser.get("/operator", headers=ENGLISH).text
    left = browser.post("/operator/logout", data={"csrf": csrf_of(page)}, headers=ENGLISH)
    assert "State of the fleet" not in left.text and 'type="password"' in left.text


def test_requests_that_wait_for_the_operator_are_counted(service: ApiService) -> None:
    browser = service.stranger()
    log_in(browser)
    assert "go-ahead" not in browser.get("/operator", headers=ENGLISH).text
    held = ConnectionRequest(
        id="held", supplier="enedis", browser="b", begun_on=TODAY, created_at=NOW, state=RequestState.HELD
    )
    service.runtime.connection_requests.create(held)
    assert "1 connection request waits for your go-ahead" in browser.get("/operator", headers=ENGLISH).text
    service.runtime.connector.turn_away("held")
