"""A new meter joins the meters of a session only where its person says so: the session may be another person's."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

import worker.web.dependencies
from tests.support.connect_service import METER, OTHER, PUBLIC, ConnectService, ConnectServices
from tests.support.household_pages import csrf_of
from worker.domain.account import Account
from worker.domain.sessions import KeyKind
from worker.runtime.consent_parts import build_inviter
from worker.web.dependencies import SESSION_COOKIE, LocalSession

HTTPS = PUBLIC.replace("http", "https")
QUESTIONS = (
    ("fr", "Ajouter à ces compteurs", "Créer un foyer séparé"),
    ("en", "Add to these meters", "Make a household of its own"),
)


@pytest.fixture(params=[pytest.param(True, id="https"), pytest.param(False, id="http")])
def service(request: pytest.FixtureRequest, kept_services: ConnectServices) -> ConnectService:
    service = kept_services.empty()
    if request.param:
        service.parts.change_settings(public_url=HTTPS)
    return service


def new_browser(service: ConnectService) -> TestClient:
    base_url = service.parts.stores.settings.public_url
    return TestClient(service.app, base_url=base_url, follow_redirects=False)


def account_of(service: ConnectService, meter: str) -> Account:
    account = service.parts.stores.registry.accounts.find("enedis", meter)
    assert account is not None
    return account


def sees(service: ConnectService, browser: TestClient, meter: str) -> bool:
    return browser.get(f"/accounts/{account_of(service, meter).id}").status_code == 200


def code_of(browser: TestClient) -> str:
    """Return the recovery code that the browser's new household is shown."""
    return browser.get("/access").text.partition("<code>")[2].partition("</code>")[0]


def sign_in(browser: TestClient, code: str) -> None:
    csrf = csrf_of(browser.get("/sign-in").text)
    assert browser.post("/sign-in/code", data={"csrf": csrf, "code": code}).status_code == 303


@pytest.mark.parametrize("choice", ["join", "alone"])
def test_who_was_made_to_sign_in_to_another_household_is_asked_before_a_meter_joins_it(
    service: ConnectService, choice: str
) -> None:
    thief, victim = new_browser(service), new_browser(service)
    service.connect(thief)
    sign_in(victim, code_of(thief))
    back = service.begin(victim, OTHER)
    asked = service.come_back(victim, back)
    for language, *texts in QUESTIONS:
        asked = victim.get(back, headers={"Accept-Language": language})
        assert asked.status_code == 200 and all(text in asked.text for text in (*texts, f"…{METER[-4:]}"))
        assert METER not in asked.text
    assert not sees(service, victim, OTHER) and not sees(service, thief, OTHER)
    done = service.join(victim, asked, choice)
    assert done.headers["location"] == f"/accounts/{account_of(service, OTHER).id}"
    assert sees(service, victim, OTHER)
    assert sees(service, victim, METER) == (choice == "join")
    is_https = service.parts.stores.settings.public_url == HTTPS
    assert sees(service, thief, OTHER) == (choice == "join" and is_https)
    assert sees(service, thief, METER)


def test_an_offer_is_for_the_session_that_was_asked_and_for_once(service: ConnectService) -> None:
    browser, stranger = new_browser(service), new_browser(service)
    service.connect(browser)
    service.connect(stranger, "30001640000033")
    asked = service.come_back(browser, service.begin(browser, OTHER))
    for other in (stranger, new_browser(service)):
        assert service.join(other, asked).status_code == 403 and not sees(service, other, OTHER)
    copy = new_browser(service)
    copy.cookies.update(browser.cookies)
    assert service.join(browser, asked).status_code == 303
    assert service.join(browser, asked).status_code == service.join(copy, asked).status_code == 403
    assert browser.post("/connect/join", data={"offer": "é", "choice": "join"}).status_code == 403


def test_a_meter_that_the_session_shows_is_renewed_without_a_question(service: ConnectService) -> None:
    browser = new_browser(service)
    service.connect(browser)
    again = service.come_back(browser, service.begin(browser))
    assert again.headers["location"] == f"/accounts/{account_of(service, METER).id}"


def test_a_household_that_shows_no_meter_any_more_gets_no_new_one_without_a_word(service: ConnectService) -> None:
    """Its other devices would see it."""
    before = new_browser(service)
    service.connect(before)
    household = service.session(before).household
    assert household is not None
    _, text = service.parts.access.keys.create(KeyKind.HOUSEHOLD_SESSION, household.id)
    page = service.open_invitation(after := new_browser(service), service.invite(new_holder=True)).headers["location"]
    service.come_back(after, service.agree(page))
    done = service.come_back(before, service.begin(before, OTHER))
    assert done.status_code == 303 and sees(service, before, OTHER)
    device = new_browser(service)
    device.cookies.set(worker.web.dependencies.cookie_name(service.parts.stores.settings, SESSION_COOKIE), text)
    assert not sees(service, device, OTHER)


def test_the_history_of_a_closed_account_joins_no_meters_without_a_question(service: ConnectService) -> None:
    service.connect(new_browser(service))
    old = account_of(service, METER)
    page = service.open_invitation(after := new_browser(service), service.invite(new_holder=True)).headers["location"]
    service.come_back(after, service.agree(page))
    browser = new_browser(service)
    service.connect(browser, OTHER)
    _, link = build_inviter(service.parts.stores).invite_account(old.id, "cli:test")
    asked = service.open_invitation(browser, link)
    assert asked.status_code == 200 and f"…{OTHER[-4:]}" in asked.text
    assert service.join(browser, asked, "alone").headers["location"] == f"/accounts/{old.id}"
    assert browser.get(f"/accounts/{old.id}").status_code == 200 and not sees(service, browser, OTHER)


@pytest.mark.parametrize("service", [False], indirect=True)
def test_nobody_is_asked_in_a_home(service: ConnectService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its session shows all meters; this one came after the session was loaded."""
    browser = new_browser(service)
    service.connect(browser)
    back = service.begin(browser, OTHER)
    service.parts.change_settings(home=True)
    service.app.state.local_session = LocalSession(service.parts.access, is_open=False)
    monkeypatch.setattr(worker.web.dependencies, "_session_of_home", lambda request, parts, session: session)
    assert service.come_back(browser, back).status_code == 303
    assert sees(service, browser, OTHER) and sees(service, browser, METER)
