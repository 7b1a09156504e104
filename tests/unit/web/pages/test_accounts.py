"""The search of an account on the operator's page, and the lists of accounts with an error or an ending consent."""

from __future__ import annotations

import logging
import re
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import NOW
from tests.support.operators import ENGLISH, signed_in
from worker.domain.account import AccountState
from worker.domain.audit_entry import AuditAction, AuditFilter
from worker.domain.completeness import DayMark, DayState
from worker.domain.series import Series
from worker.domain.sessions import Scope
from worker.runtime.consent_parts import erase
from worker.stores.registry.outcomes import RunOutcome
from worker.web.api.callers import CSRF_HEADER

METER = "30001640000042"


@pytest.fixture
def operator(service: ApiService) -> TestClient:
    return signed_in(service.app, service.parts)


def search(operator: TestClient, whom: str) -> Response:
    return operator.post(
        "/operator/search", data={"wanted": whom, "csrf": operator.headers[CSRF_HEADER]}, headers=ENGLISH
    )


def record(service: ApiService, account: str, code: str | None, **changes: Any) -> None:
    usual: dict[str, Any] = {"code": code, "message": "", "last_day": None, "stored": False}
    service.parts.stores.registry.outcomes.record(account, Series.DAILY, "run", NOW, RunOutcome(**usual | changes))


def test_the_customer_who_calls_is_found_by_the_meter(service: ApiService, operator: TestClient) -> None:
    """D2: a meter's number leads to state, reason, missing days and a new link."""
    account = service.add(42)
    lost = {TODAY - timedelta(days=age): DayMark(DayState.LATE, asked_at_age=1) for age in (1, 3)}
    record(service, account, "VENDOR_DOWN", days=lost)
    answer = search(operator, " 3000 1640 0000 42 ")
    assert answer.url.path == f"/operator/accounts/{account}", "the address has the id, never the number"
    page = " ".join(re.sub(r"<[^>]+>", " ", answer.text).replace("\xa0", " ").split())
    for words in ("Active", "VENDOR_DOWN", "24 July 2024", "22 July 2024", "Create the link"):
        assert words in page, words
    assert METER not in answer.text
    assert search(operator, account.upper()).url.path == answer.url.path, "its id finds it too"
    link = operator.post(
        "/operator/invitations",
        data={"whom": account, "csrf": operator.headers[CSRF_HEADER]},
    )
    assert link.status_code == 200 and "/invitation#invite_" in link.text


def test_a_search_is_in_the_audit_trail_without_the_number_and_the_number_in_no_log(
    service: ApiService, operator: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    account = service.add(42)
    with caplog.at_level(logging.DEBUG):
        search(operator, METER)
        unknown = search(operator, "30001640000043")
    entries = service.parts.stores.registry.audit.page(AuditFilter(action=AuditAction.ACCOUNT_FIND), 10)
    assert [(entry.actor, entry.account_id, entry.outcome) for entry in entries] == [
        ("alice", None, "operator.search.unknown"),
        ("alice", account, "ok"),
    ]
    assert unknown.status_code == 404 and "No account matches this meter" in unknown.text
    assert "3000164000004" not in f"{entries}{caplog.text}{unknown.text}"


def test_a_number_of_two_meters_leads_to_both(service: ApiService, operator: TestClient) -> None:
    account = service.add(42)
    gas, _ = service.parts.stores.registry.accounts.add("grdf", METER, NOW, token_needed=False)
    page = search(operator, METER).text
    assert f"/operator/accounts/{account}" in page and f"/operator/accounts/{gas.id}" in page


def test_a_code_leads_to_the_accounts_that_have_it_and_since_when(service: ApiService, operator: TestClient) -> None:
    """D35: the codes of the operator's page lead to the accounts."""
    failing, well = service.add(1), service.add(2)
    record(service, failing, None)
    record(service, failing, "VENDOR_DOWN")
    record(service, well, None)
    (link,) = re.findall(r'href="(/operator/accounts\?code=VENDOR_DOWN)"', operator.get("/operator").text)
    page = operator.get(link, headers=ENGLISH).text
    assert f"/operator/accounts/{failing}" in page and well not in page
    assert "25 Jul 2024, 09:00" in page.replace("\xa0", " ")


def test_those_whose_consent_ends_within_a_month_are_listed(service: ApiService, operator: TestClient) -> None:
    registry = service.parts.stores.registry
    soon, late = (
        registry.accounts.add(
            "enedis", f"300016400000{days}", NOW, consent_until=TODAY + timedelta(days=days), token_needed=False
        )[0]
        for days in (30, 31)
    )
    page = operator.get("/operator/accounts", headers=ENGLISH).text
    assert soon.id in page and late.id not in page


def test_long_lists_come_in_pages(service: ApiService, operator: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.web.pages.operator_accounts.ACCOUNTS_A_PAGE", 2)
    accounts = sorted(service.add(number) for number in range(3))
    for account in accounts:
        record(service, account, "VENDOR_DOWN")
    first = operator.get("/operator/accounts?code=VENDOR_DOWN").text
    (more,) = re.findall(r'href="(/operator/accounts\?code=VENDOR_DOWN&amp;after=[a-z0-9]+)"', first)
    second = operator.get(more.replace("&amp;", "&")).text
    assert [f"accounts/{account}" in first for account in accounts] == [True, True, False]
    assert [f"accounts/{account}" in second for account in accounts] == [False, False, True]


def test_an_account_that_is_not_there_has_no_page(service: ApiService, operator: TestClient) -> None:
    assert operator.get("/operator/accounts/nobody").status_code == 404
    removed = service.add(3)
    erase(service.parts.stores, removed, "test")
    assert operator.get(f"/operator/accounts/{removed}").status_code == 404


def test_programs_find_the_account_of_a_meter_of_their_own_service(service: ApiService) -> None:
    account = service.add(42)
    service.parts.stores.registry.tenants.save("other", "Other")
    neighbours = service.add(43, tenant="other")
    found = service.client(Scope.READ_ACCOUNTS).post("/api/accounts/search", json={"usage_point": METER})
    assert [one["account"] for one in found.json()["accounts"]] == [account] and METER not in found.text
    client = service.client(Scope.READ_ACCOUNTS)
    assert client.post("/api/accounts/search", json={"usage_point": "30001640000043"}).json()["accounts"] == []
    assert client.post("/api/accounts/search", json={"pce": METER}).json()["accounts"] == [], "another energy"
    others = service.client(Scope.READ_ACCOUNTS, tenant="other")
    assert others.post("/api/accounts/search", json={"usage_point": METER}).json()["accounts"] == []
    own = others.post("/api/accounts/search", json={"usage_point": "30001640000043"}).json()["accounts"]
    assert [one["account"] for one in own] == [neighbours]
    for body in ({}, {"usage_point": METER, "pce": METER}, {"usage_point": "12"}, {"meter": METER}):
        refused = client.post("/api/accounts/search", json=body)
        assert refused.status_code == 422 and METER not in refused.text


def test_a_paused_account_tells_its_reason(service: ApiService, operator: TestClient) -> None:
    account = service.add(42)
    service.parts.stores.registry.accounts.set_state(account, AccountState.PAUSED, now=NOW)
    assert "Paused" in operator.get(f"/operator/accounts/{account}", headers=ENGLISH).text
