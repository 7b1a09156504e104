"""The operator's search for an account, the list of accounts with its filters, and its CSV."""

from __future__ import annotations

import csv
import html
import io
import logging
import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response
from sqlalchemy import update

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import NOW
from tests.support.operators import ENGLISH, signed_in
from worker.domain.account import AccountState
from worker.domain.audit_entry import AuditAction, AuditEntry, AuditFilter
from worker.domain.completeness import DayMark, DayState
from worker.domain.series import Series
from worker.domain.sessions import KeyKind, Scope
from worker.domain.windows import ONE_DAY
from worker.runtime.consent_parts import erase
from worker.stores.registry.outcomes import RunOutcome
from worker.stores.registry.tables import ACCOUNTS
from worker.web.api.callers import CSRF_HEADER
from worker.web.error_pages import AbortedAnswer

METER = "30001640000042"


@pytest.fixture
def operator(service: ApiService) -> TestClient:
    return signed_in(service.app, service.parts)


def search(operator: TestClient, whom: str) -> Response:
    return operator.post(
        "/operator/search", data={"wanted": whom, "csrf": operator.headers[CSRF_HEADER]}, headers=ENGLISH
    )


def listed(page: str) -> list[str]:
    """Return the accounts of the page's list, in its order."""
    return re.findall(r'<th scope="row"><a href="/operator/accounts/([a-z0-9]+)"', page)


def entries_of(service: ApiService, action: AuditAction) -> list[AuditEntry]:
    return list(service.parts.stores.registry.audit.page(AuditFilter(action=action), 10))


def add_vouched(service: ApiService, reference: str) -> str:
    """Add the account of METER with the operator's own reference."""
    added = {"usage_point": METER, "consented_on": "2024-07-01", "reference": reference}
    return str(service.client(Scope.WRITE_ACCOUNTS).post("/api/accounts", json=added).json()["account"])


def join_household(service: ApiService, address: str, *accounts: str) -> None:
    """Open a household with these accounts and a confirmed mail address."""
    household = service.parts.access.households.create(dict.fromkeys(accounts, 1))
    assert service.parts.access.mails.addresses.set(household.id, address, "fr")


def operator_id(service: ApiService) -> str:
    (operator,) = service.parts.access.operators.list_operators()
    return operator.id


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


@pytest.mark.parametrize("typed", ["30001640000043", "contract 4712", "zoe@example.org", "=cmd|' /C calc'!A0"])
def test_what_is_typed_to_search_is_on_no_page_and_in_no_entry_and_no_log(
    service: ApiService, operator: TestClient, caplog: pytest.LogCaptureFixture, typed: str
) -> None:
    with caplog.at_level(logging.DEBUG):
        unknown = search(operator, typed)
    (entry,) = entries_of(service, AuditAction.ACCOUNT_FIND)
    assert (entry.actor, entry.account_id, entry.outcome) == ("alice", None, "operator.search.unknown")
    assert unknown.status_code == 404 and "No account has this meter number, id, reference or address" in unknown.text
    assert 'href="/operator?lang=fr"' in unknown.text, "the other language stays with the operator"
    assert typed not in f"{entry}{caplog.text}{html.unescape(unknown.text)}{unknown.url}"


def test_a_search_that_finds_is_in_the_audit_trail_with_the_account_alone(
    service: ApiService, operator: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    account = add_vouched(service, "contract 4711")
    join_household(service, "Anne@example.org", account)
    with caplog.at_level(logging.DEBUG):
        for typed in (METER, "contract 4711", "anne@example.org"):
            assert search(operator, f" {typed} ").url.path == f"/operator/accounts/{account}", typed
    entries = entries_of(service, AuditAction.ACCOUNT_FIND)
    assert {(entry.account_id, entry.subject, entry.outcome) for entry in entries} == {(account, None, "ok")}
    assert not re.search(f"{METER}|contract|example", f"{entries}{caplog.text}")


def test_an_address_leads_to_each_account_that_its_households_still_see(
    service: ApiService, operator: TestClient
) -> None:
    home, garage, former, stranger = (service.add(number) for number in (1, 2, 3, 4))
    join_household(service, "anne@example.org", home, former)
    join_household(service, "anne@example.org", garage)
    join_household(service, "ben@example.org", stranger)
    with service.parts.stores.registry.database.writing() as connection:  # As when another person takes the meter over.
        connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id == former).values(session_number=2))
    page = search(operator, "anne@example.org").text
    assert listed(page) == sorted([home, garage]) and "example.org" not in page


def test_a_number_of_two_meters_leads_to_both(service: ApiService, operator: TestClient) -> None:
    account = service.add(42)
    gas, _ = service.parts.stores.registry.accounts.add("grdf", METER, NOW, token_needed=False)
    page = search(operator, METER).text
    assert listed(page) == sorted([account, gas.id]) and "Enedis" in page and "GRDF" in page and METER not in page


def test_a_code_leads_to_the_accounts_that_have_it_and_since_when(service: ApiService, operator: TestClient) -> None:
    """D35: the codes of the operator's page lead to the accounts."""
    failing, well = service.add(1), service.add(2)
    record(service, failing, None)
    record(service, failing, "VENDOR_DOWN")
    record(service, well, None)
    (link,) = set(re.findall(r'href="(/operator/accounts\?code=VENDOR_DOWN)"', operator.get("/operator").text))
    page = operator.get(link, headers=ENGLISH).text
    assert listed(page) == [failing] and "25 Jul 2024, 09:00" in page.replace("\xa0", " ")
    assert "Accounts: error VENDOR_DOWN" in page and page.count("<code>VENDOR_DOWN</code>") == 2, "a row and its advice"


def test_each_filter_lists_its_accounts_and_is_said_in_the_heading(service: ApiService, operator: TestClient) -> None:
    registry = service.parts.stores.registry
    registry.tenants.save("other", "Other")
    well, paused, late, others = service.add(1), service.add(2), service.add(3), service.add(4, tenant="other")
    registry.accounts.set_state(paused, AccountState.PAUSED, now=NOW)
    ends = {
        days: registry.accounts.add(
            "enedis", f"300016400001{days:02}", NOW, consent_until=TODAY + timedelta(days=days), token_needed=False
        )[0].id
        for days in (0, 7, 8, 30, 31)
    }
    for account in (well, others, *ends.values()):
        record(service, account, None, days={TODAY - ONE_DAY: DayMark(DayState.COMPLETE)})
    expected = {
        "": ("All accounts", [well, paused, late, others, *ends.values()]),
        "?state=paused": ("Accounts: state “Paused”", [paused]),
        "?late=daily": ("Accounts: 24 July 2024 missing (", [late]),
        "?ending=7": ("Accounts: consent expires within 7 days", [ends[0], ends[7]]),
        "?ending=30": ("Accounts: consent expires within 30 days", [ends[days] for days in (0, 7, 8, 30)]),
        "?tenant=other": ("Accounts: service Other", [others]),
        "?state=ready&tenant=other": ("Accounts: state “Active”, service Other", [others]),
        "?code=VENDOR_DOWN": ("Accounts: error VENDOR_DOWN", []),
    }
    for query, (heading, accounts) in expected.items():
        page = operator.get(f"/operator/accounts{query}", headers=ENGLISH).text
        assert (f"<h1>{heading}" in page.replace("\xa0", " "), listed(page)) == (True, sorted(accounts)), query


@pytest.mark.parametrize(
    "query", ["state=asleep", "state=deleted", f"code={METER}", "late=x", "ending=8", "tenant=other"]
)
def test_an_unknown_value_of_a_filter_is_said_and_lists_nothing(
    service: ApiService, operator: TestClient, query: str
) -> None:
    service.add(1)
    answer = operator.get(f"/operator/accounts?{query}", headers=ENGLISH)
    assert (answer.status_code, listed(answer.text)) == (422, []), query
    page = answer.text.partition("<main")[2]  # Above are links to the same address in each language.
    assert "has no such value. Choose another." in page and METER not in page


def test_long_lists_come_in_pages(service: ApiService, operator: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.web.pages.operator_accounts.ACCOUNTS_A_PAGE", 2)
    accounts = sorted(service.add(number) for number in range(5))
    for account in accounts:
        record(service, account, "VENDOR_DOWN")
    address, pages = "/operator/accounts?code=VENDOR_DOWN", []
    while address:
        page = operator.get(address, headers=ENGLISH).text
        pages.append(listed(page))
        links = dict(re.findall(r'href="([^"]+)">((?:Next|First) page)<', page))
        address = next((html.unescape(link) for link, words in links.items() if words == "Next page"), "")
        assert ("First page" in links.values()) == (len(pages) > 1)
    assert pages == [accounts[:2], accounts[2:4], accounts[4:]]


def export(operator: TestClient, language: str = "fr", **filters: str) -> Response:
    data = {**filters, "csrf": operator.headers[CSRF_HEADER]}
    return operator.post("/operator/accounts.csv", data=data, headers={"Accept-Language": language})


def test_a_list_is_exported_with_references_and_without_meters(
    service: ApiService, operator: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.web.pages.operator_accounts.ACCOUNTS_A_PART", 2)
    vouched = add_vouched(service, "=contract;4711")
    others = [service.add(number) for number in (1, 2, 3)]
    service.parts.stores.registry.accounts.set_state(others[0], AccountState.PAUSED, now=NOW)
    ending, _ = service.parts.stores.registry.accounts.add(
        "enedis", "30001640000005", NOW, consent_until=TODAY, token_needed=False
    )
    answer = export(operator)
    heading, *rows = csv.reader(io.StringIO(answer.text.removeprefix("\ufeff")), delimiter=";")
    assert heading == ["compte", "référence", "état", "consentement valable jusqu’au"]
    assert [row[0] for row in rows] == sorted([vouched, *others, ending.id]) and answer.text.startswith("\ufeff")
    by_id = {row[0]: row[1:] for row in rows}
    assert by_id[vouched] == ["'=contract;4711", "En service", ""]
    assert by_id[others[0]] == ["", "En pause", ""] and by_id[ending.id] == ["", "En service", "2024-07-25"]
    assert "30001640" not in answer.text
    assert export(operator, "en", state="paused").text.splitlines()[1:] == [f"{others[0]},,Paused,"]
    assert answer.headers["Content-Disposition"] == 'attachment; filename="releve-accounts-2024-07-25.csv"'
    entries = entries_of(service, AuditAction.ACCOUNT_EXPORT)
    assert [(entry.actor, entry.subject) for entry in entries] == [("alice", "state-paused"), ("alice", "all")]


def test_an_export_of_an_unknown_list_is_refused(service: ApiService, operator: TestClient) -> None:
    assert export(operator, code=METER).status_code == 422
    (entry,) = entries_of(service, AuditAction.ACCOUNT_EXPORT)
    assert (entry.subject, entry.outcome) == (None, "operator.filter.unknown")


def test_an_export_ends_with_the_session_of_its_operator(
    service: ApiService, operator: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.web.pages.operator_accounts.ACCOUNTS_A_PART", 1)
    for number in range(3):
        service.add(number)
    consents, calls = service.parts.stores.registry.consents, []

    def load_references(account_ids: Sequence[str]) -> dict[str, str]:
        calls.append(account_ids)
        if len(calls) == 2:
            service.parts.access.keys.end_of([operator_id(service)], [KeyKind.OPERATOR_SESSION])
        return {}

    monkeypatch.setattr(consents, "load_references", load_references)
    with pytest.raises(AbortedAnswer):
        export(operator)
    assert len(calls) == 2


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
    assert client.post("/api/accounts/search", json={"reference": "Contract"}).json()["accounts"] == []
    two = {"reference": METER, "pce": METER}
    for body in (
        {},
        {"usage_point": METER, "pce": METER},
        two,
        {"usage_point": "12"},
        {"reference": ""},
        {"meter": METER},
    ):
        refused = client.post("/api/accounts/search", json=body)
        assert refused.status_code == 422 and METER not in refused.text


def test_programs_find_the_accounts_of_a_reference_of_their_own_service(service: ApiService) -> None:
    service.parts.stores.registry.tenants.save("other", "Other")
    clients = [service.client(Scope.READ_ACCOUNTS, Scope.WRITE_ACCOUNTS, tenant=name) for name in ("default", "other")]
    for number, client in enumerate(clients):
        new = {"usage_point": f"3000164000004{number}", "reference": "Contract 4711", "consented_on": "2024-07-01"}
        added = client.post("/api/accounts", json=new).json()["account"]
        found = client.post("/api/accounts/search", json={"reference": "contract  4711"})
        assert [one["account"] for one in found.json()["accounts"]] == [added] and "4711" not in found.text


def test_a_paused_account_tells_its_reason(service: ApiService, operator: TestClient) -> None:
    account = service.add(42)
    service.parts.stores.registry.accounts.set_state(account, AccountState.PAUSED, now=NOW)
    assert "Paused" in operator.get(f"/operator/accounts/{account}", headers=ENGLISH).text
