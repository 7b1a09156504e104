"""A household names its meter: on its pages, in no log and no audit entry, and nowhere in the API."""

from __future__ import annotations

import html
import logging

import pytest

from tests.support.api_service import ApiService
from tests.support.factories import NOW
from tests.support.household_pages import FRENCH, csrf_of
from tests.support.registries import all_rows, close_account
from worker.accounts.meter_names import load_name
from worker.domain.audit_entry import AuditFilter
from worker.domain.sessions import Scope

NAME = "Chalet <d’été>"


def name(service: ApiService, account: str, text: str) -> tuple[int, str]:
    """Send the form of the meter's page; return the status of the answer and its page."""
    browser = service.browser(account)
    fields = {"csrf": csrf_of(browser.get(f"/accounts/{account}/connection").text), "name": text}
    answer = browser.post(f"/accounts/{account}/name", data=fields, headers=FRENCH, follow_redirects=False)
    if answer.status_code == 303:
        assert answer.headers["location"] == f"/accounts/{account}/connection"
    return answer.status_code, html.unescape(answer.text)


def named(service: ApiService, account: str) -> str:
    return load_name(service.parts.stores.registry, account)


def test_a_name_is_the_title_of_the_meters_page_and_its_name_in_the_list(
    service: ApiService, account: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    browser = service.browser(account)
    assert name(service, account, NAME)[0] == 303 and named(service, account) == NAME
    page = html.unescape(browser.get(f"/accounts/{account}", headers=FRENCH).text)
    assert f"<h1>{NAME}</h1>" in page and f"<title>{NAME} · Relève</title>" in page
    assert "…0011" in page
    assert f'value="{NAME}"' in html.unescape(browser.get(f"/accounts/{account}/connection", headers=FRENCH).text)
    for form in ("prices", "alerts"):  # Each says of which meter it is.
        assert f"← {NAME}</a>" in html.unescape(browser.get(f"/accounts/{account}/{form}", headers=FRENCH).text)
    listed = html.unescape(browser.get("/", headers=FRENCH).text)
    assert f">{NAME}</a></h2>" in listed
    assert name(service, account, "")[0] == 303 and named(service, account) == ""
    assert "<h1>Ma consommation</h1>" in browser.get(f"/accounts/{account}", headers=FRENCH).text
    registry = service.parts.stores.registry
    entries = registry.audit.page(AuditFilter(action="account.name"), 10)
    assert [(entry.account_id, entry.outcome, entry.subject) for entry in entries] == [(account, "ok", None)] * 2
    assert "Chalet" not in caplog.text and "Chalet" not in str(all_rows(registry.database))


def test_a_text_that_is_no_name_is_refused_with_one_line(service: ApiService, account: str) -> None:
    name(service, account, "Maison")
    status, page = name(service, account, "Mai\x1bson")
    assert status == 422 and "Un nom a au plus 40 caractères, tous visibles." in page
    assert named(service, account) == "Maison"


def test_names_change_at_most_ten_times_an_hour(service: ApiService, account: str) -> None:
    assert [name(service, account, f"Maison {number}")[0] for number in range(11)] == [303] * 10 + [429]
    assert named(service, account) == "Maison 9"


def test_a_closed_account_takes_no_name(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    csrf = csrf_of(browser.get(f"/accounts/{account}/connection").text)
    close_account(service.parts.stores.registry.consents, account, NOW)
    page = browser.get(f"/accounts/{account}/connection", headers=FRENCH).text
    assert "/name" not in page
    browser.post(f"/accounts/{account}/name", data={"csrf": csrf, "name": NAME})
    assert named(service, account) == ""


def test_the_api_has_no_name(service: ApiService, account: str) -> None:
    name(service, account, NAME)
    client = service.client(*Scope)
    for path in ("/api/accounts", f"/api/accounts/{account}", f"/api/accounts/{account}/measures?series=daily&by=day"):
        answer = client.get(path)
        assert answer.status_code == 200 and "Chalet" not in answer.text
