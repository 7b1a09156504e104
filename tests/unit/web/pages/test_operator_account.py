"""The operator's page of an account: any day explained, and forms that do what the commands do."""

from __future__ import annotations

import io
import json
import logging
import re
import zipfile
from datetime import timedelta
from html import unescape

import pytest
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.support.api_service import TODAY, ApiService
from tests.support.factories import NOW
from tests.support.operators import ENGLISH, signed_in
from worker.app import queue_lengths
from worker.domain.account import Account, AccountState
from worker.domain.audit_entry import AuditFilter
from worker.domain.completeness import DayMark, DayState
from worker.domain.series import Series, SeriesSwitch
from worker.domain.sessions import Role
from worker.domain.windows import ONE_DAY
from worker.errors import ConsentRevoked, StoreUnavailable
from worker.runtime.consent_parts import erase, stop_consent
from worker.stores.registry.account_details import NOTE
from worker.stores.registry.outcomes import RunOutcome
from worker.web.api.callers import CSRF_HEADER

NOT_NOW = "present state does not allow this"


@pytest.fixture
def operator(service: ApiService) -> TestClient:
    return signed_in(service.app, service.parts)


def load(service: ApiService, account: str) -> Account:
    return service.parts.stores.registry.accounts.get(account)


def send(operator: TestClient, account: str, form: str, **fields: str) -> Response:
    """Send a form of the account's page; the answer is the page to which it leads."""
    fields = {"csrf": operator.headers[CSRF_HEADER], **fields}
    return operator.post(f"/operator/accounts/{account}/{form}", data=fields, headers=ENGLISH)


def page_of(operator: TestClient, account: str, query: str = "") -> str:
    return text_of(operator.get(f"/operator/accounts/{account}{query}", headers=ENGLISH))


def text_of(answer: Response) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.text)).split())


def forms_of(operator: TestClient, account: str) -> set[str]:
    page = operator.get(f"/operator/accounts/{account}", headers=ENGLISH).text
    return set(re.findall(rf'method="post" action="/operator/accounts/{account}/([a-z-]+)"', page))


def entries(service: ApiService) -> list[tuple[str, str | None, str]]:
    """Return action, account and outcome of each entry of the audit trail, the oldest first."""
    page = service.parts.stores.registry.audit.page(AuditFilter(actor="alice"), 100)
    return [(entry.action, entry.account_id, entry.outcome) for entry in reversed(page)]


# Any day


def test_any_day_is_explained_without_a_measure(service: ApiService, account: str, operator: TestClient) -> None:
    day, registry = TODAY - timedelta(days=3), service.parts.stores.registry
    marks = {day: DayMark(DayState.COMPLETE), TODAY - ONE_DAY: DayMark(DayState.LATE, asked_at_age=1)}
    outcome = RunOutcome(code=None, message="", last_day=day, stored=True, days=marks)
    registry.outcomes.record(account, Series.DAILY, "run", NOW, outcome)
    answer = operator.get(f"/operator/accounts/{account}?day={day}", headers=ENGLISH)
    assert "We have received the total for 22 July 2024 in full." in text_of(answer), text_of(answer)
    assert not re.search(r"5[.,\s]?570|kWh|kVA", text_of(answer)), "no measure"
    for other in (day - ONE_DAY, day + ONE_DAY, TODAY - ONE_DAY):  # Both arrows, and a missing day.
        assert f'href="/operator/accounts/{account}?day={other}#day"' in answer.text
    assert "has not yet published the total for 24 July 2024" in page_of(operator, account), "yesterday by default"


@pytest.mark.parametrize("day", ["", "yesterday", "2024-02-30", "0001-01-01", str(TODAY + ONE_DAY), "9999-12-31"])
def test_a_day_that_cannot_be_explained_gives_one_line(
    service: ApiService, account: str, operator: TestClient, day: str
) -> None:
    answer = operator.get(f"/operator/accounts/{account}", params={"day": day}, headers=ENGLISH)
    assert (answer.status_code, "Choose a past day" in answer.text) == ((422, True) if day else (200, False))


# Sync


def test_a_sync_is_queued_as_by_the_command(service: ApiService, account: str, operator: TestClient) -> None:
    before = queue_lengths(service.parts.stores.broker_url)["control"]
    page = send(operator, account, "sync")
    assert "The requests for 2 series are queued." in text_of(page) and page.url.query == b"done=sync&number=2"
    assert queue_lengths(service.parts.stores.broker_url)["control"] == before + 1
    assert entries(service) == [("account.sync", account, "ok")]


@pytest.mark.parametrize("obstacle", ["queued", "incident", "gate", "no_broker"])
def test_a_sync_that_would_fetch_nothing_is_refused(
    service: ApiService, account: str, operator: TestClient, monkeypatch: pytest.MonkeyPatch, obstacle: str
) -> None:
    sync, sent = service.parts.sync, list[str]()

    def enqueue(account_id: str, broker_url: str) -> None:
        if obstacle == "no_broker":
            raise StoreUnavailable("no broker")
        sent.append(account_id)

    monkeypatch.setattr("worker.web.pages.operator_account.enqueue_look_back", enqueue)
    if obstacle == "queued":
        assert len(sync.claims.claim_look_backs(account)) == 2
    elif obstacle == "incident":
        assert sync.incidents.open_by_hand()
    elif obstacle == "gate":
        sync.ledger.close_gate(600)
    answer = send(operator, account, "sync")
    assert answer.status_code == (503 if obstacle == "no_broker" else 409) and "Nothing was queued" in answer.text
    assert sent == [] and entries(service) == [("account.sync", account, f"operator.account.sync.{obstacle}")]


# Pause


def test_an_error_that_is_retried_is_not_shown_during_a_pause(
    service: ApiService, account: str, operator: TestClient
) -> None:
    outcome = RunOutcome(code="RATE_LIMITED")
    service.parts.stores.registry.outcomes.record(account, Series.DAILY, "run", NOW, outcome)
    assert "RATE_LIMITED" in page_of(operator, account)
    assert "RATE_LIMITED" not in text_of(send(operator, account, "pause"))


def test_the_end_of_the_consent_is_shown_even_if_it_is_not_known(account: str, operator: TestClient) -> None:
    assert "Consent valid until date not known" in page_of(operator, account)


def test_a_pause_ends_on_its_day_or_by_the_button(service: ApiService, account: str, operator: TestClient) -> None:
    until = TODAY + timedelta(days=30)
    page = text_of(send(operator, account, "pause", until=str(until)))
    assert "The account is paused." in page and "24 August 2024" in page
    paused = load(service, account)
    assert (paused.state, paused.paused_until) == (AccountState.PAUSED, until)
    assert NOT_NOW in send(operator, account, "pause").text
    assert "The account is resumed: see its state below." in send(operator, account, "resume").text
    assert (load(service, account).state, load(service, account).paused_until) == (AccountState.READY, None)
    assert [entry[::2] for entry in entries(service)] == [
        ("account.pause", "ok"),
        ("account.pause", "operator.account.not_now"),
        ("account.resume", "ok"),
    ]


@pytest.mark.parametrize("until", ["soon", str(TODAY), "2024-07-01"])
def test_a_pause_until_a_day_that_is_not_to_come_is_refused(
    service: ApiService, account: str, operator: TestClient, until: str
) -> None:
    refused = send(operator, account, "pause", until=until)
    assert refused.status_code == 422 and "must be in the future" in refused.text
    assert load(service, account).state is AccountState.READY


# Series, sessions


def test_only_the_series_that_the_form_changes_are_switched(
    service: ApiService, account: str, operator: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    published: list[str] = []
    monkeypatch.setattr("worker.web.dependencies.enqueue_backfill", lambda one, **_: published.append(one))
    registry = service.parts.stores.registry
    registry.outcomes.switch(account, Series.CONTRACT, SeriesSwitch.ON, NOW)  # Since the form was loaded.
    fields = {"csrf": operator.headers[CSRF_HEADER], "switch": ["contract fleet fleet", "max_power fleet on"]}
    page = operator.post(f"/operator/accounts/{account}/series", data=fields, headers=ENGLISH)
    assert "The choice of series is saved." in page.text and published == [account]
    chosen = {one.series: one.switch for one in registry.outcomes.list_chosen(account)}
    assert chosen[Series.CONTRACT] == chosen[Series.MAX_POWER] == SeriesSwitch.ON
    assert re.search(r'<option value="max_power on on" selected>', page.text)


@pytest.mark.parametrize("switch", ["max_power fleet", "power fleet on", "max_power fleet ended", "gas_daily fleet on"])
def test_a_choice_that_no_form_offers_changes_nothing(
    service: ApiService, account: str, operator: TestClient, switch: str
) -> None:
    before = service.parts.stores.registry.outcomes.list_chosen(account)
    assert send(operator, account, "series", switch=switch).status_code == 422
    assert service.parts.stores.registry.outcomes.list_chosen(account) == before


def test_the_sessions_of_its_households_end(service: ApiService, account: str, operator: TestClient) -> None:
    household, neighbour = service.browser(account), service.browser(service.add(12))
    assert "1 session has ended." in send(operator, account, "end-sessions").text
    assert household.get(f"/accounts/{account}").status_code == 404
    assert "/accounts/" in neighbour.get("/").text
    assert entries(service) == [("session.end", account, "ok")]


# Notes


def seen_by(operator: TestClient, account: str) -> str:
    (seen,) = re.findall(r'name="seen" value="([0-9a-f]+)"', operator.get(f"/operator/accounts/{account}").text)
    return str(seen)


def test_a_note_is_the_households_to_read_and_goes_with_the_account(
    service: ApiService, account: str, operator: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    text, registry = "Rappeler lundi.\r\n<b>Compteur</b> remplacé", service.parts.stores.registry
    with caplog.at_level(logging.DEBUG):
        saved = send(operator, account, "note", text=f" {text} ", seen=seen_by(operator, account))
    assert "Written on 25 July 2024" in saved.text and "&lt;b&gt;Compteur" in saved.text
    files = zipfile.ZipFile(io.BytesIO(service.browser(account).get(f"/accounts/{account}/everything").content))
    told = json.loads(files.read("account.json"))["told"]
    assert told == {"note": {"text": text.replace("\r\n", "\n"), "day": "2024-07-25"}}
    assert entries(service) == [("account.note", account, "ok")]
    assert "Rappeler" not in f"{caplog.text}{registry.audit.page(AuditFilter(), 100)}"
    erase(service.parts.stores, account, "test")
    assert registry.account_details.load(account, NOTE) is None


def test_two_operators_do_not_overwrite_each_others_note(
    service: ApiService, account: str, operator: TestClient
) -> None:
    seen = seen_by(operator, account)
    send(operator, account, "note", text="first", seen=seen)
    refused = send(operator, account, "note", text="second", seen=seen)
    assert refused.status_code == 409 and "readonly>first<" in refused.text and ">second<" in refused.text
    (anew,) = re.findall(r'name="seen" value="([0-9a-f]+)"', refused.text)
    assert ">second<" in send(operator, account, "note", text="second", seen=anew).text
    send(operator, account, "note", text=" ", seen=seen_by(operator, account))
    assert service.parts.stores.registry.account_details.load(account, NOTE) is None, "an empty text removes it"


def test_a_note_that_is_too_long_is_refused_and_not_lost(
    service: ApiService, account: str, operator: TestClient
) -> None:
    refused = send(operator, account, "note", text="x" * 2001, seen=seen_by(operator, account))
    assert refused.status_code == 422 and "x" * 2001 in refused.text
    assert service.parts.stores.registry.account_details.load(account, NOTE) is None


# What is possible


def test_the_page_has_the_forms_that_the_state_allows(service: ApiService, account: str, operator: TestClient) -> None:
    always, registry = {"end-sessions", "erase"}, service.parts.stores.registry
    assert forms_of(operator, account) == always | {"sync", "pause", "series", "note"}
    registry.accounts.set_state(account, AccountState.ACTION_NEEDED, ConsentRevoked.code, now=NOW)
    assert forms_of(operator, account) == always | {"pause", "resume", "series", "note"}
    stop_consent(service.parts.stores, account)
    assert forms_of(operator, account) == always | {"pause", "series", "note"}
    for form in ("sync", "resume"):
        refused = send(operator, account, form)
        assert refused.status_code == 409 and NOT_NOW in refused.text
    erase(service.parts.stores, account, "test")
    assert operator.get(f"/operator/accounts/{account}").status_code == 404
    assert send(operator, account, "note", text="x").status_code == 404


def test_for_support_the_forms_of_administrators_are_only_named(service: ApiService, account: str) -> None:
    support = signed_in(service.app, service.parts, "sophie", role=Role.SUPPORT)
    assert forms_of(support, account) == {"sync", "pause", "note"}
    assert "For administrators only: choosing series" in page_of(support, account)


def test_a_typed_address_confirms_nothing_odd(account: str, operator: TestClient) -> None:
    huge = f"?done=sync&number={'9' * 40}"
    for query in ("?done=sync", "?done=x&number=1", "?done=sync&number=-1", huge, "?done=pause&number=3"):
        answer = operator.get(f"/operator/accounts/{account}{query}", headers=ENGLISH)
        assert answer.status_code == 200 and ("paused." in answer.text) is ("pause" in query)
