"""M5: the sessions of a household are seen and ended on its page; a copied cookie of an ended one is refused."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import delete, update

from tests.support.api_service import ApiService
from tests.support.household_pages import FRENCH, csrf_of
from worker.domain.sessions import KeyKind
from worker.errors import StoreUnavailable
from worker.stores.registry.tables import ACCESS_KEYS, ACCOUNTS, HOUSEHOLDS
from worker.web.client_addresses import name_device
from worker.web.dependencies import SESSION_COOKIE, Session, load_session, open_session

ENGLISH = {"Accept-Language": "en"}
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 Version/18.5 Mobile Safari/604.1"


def copy_of(service: ApiService, browser: TestClient) -> TestClient:
    """Return a thief's browser, with a copy of the cookie."""
    return TestClient(service.app, cookies={SESSION_COOKIE: browser.cookies[SESSION_COOKIE]})


def second_browser(service: ApiService, browser: TestClient, device: str = "Safari, iPhone") -> TestClient:
    """Return another browser of the same household."""
    session = load_session(service.parts.access, browser.cookies[SESSION_COOKIE])
    assert session.household is not None
    _, text = service.parts.access.keys.create(KeyKind.HOUSEHOLD_SESSION, session.household.id, device=device)
    return TestClient(service.app, cookies={SESSION_COOKIE: text})


def post(browser: TestClient, path: str) -> int:
    form = {"csrf": csrf_of(browser.get("/access/sessions").text)}
    return browser.post(path, data=form, follow_redirects=False).status_code


def sees(browser: TestClient, account: str) -> bool:
    answers = {browser.get(f"/accounts/{account}").status_code, browser.get(f"/api/accounts/{account}").status_code}
    assert answers == {200} or answers <= {401, 404}
    return answers == {200}


def log_out(service: ApiService, browser: TestClient, account: str) -> None:
    assert post(browser, "/access/log-out") == 303 and not sees(browser, account)


def end_from_another_browser(service: ApiService, browser: TestClient, account: str) -> None:
    other = second_browser(service, browser)
    sid = load_session(service.parts.access, browser.cookies[SESSION_COOKIE]).sid
    assert post(other, f"/access/sessions/{sid}/end") == 303 and sees(other, account)


def end_all_others(service: ApiService, browser: TestClient, account: str) -> None:
    other = second_browser(service, browser)
    assert post(other, "/access/sessions/end-others") == 303 and sees(other, account)


def end_by_operator(service: ApiService, browser: TestClient, account: str) -> None:
    households = service.parts.stores.registry.sessions.households_of([account])
    assert service.parts.stores.registry.sessions.end_of(households) == 1


def erase(service: ApiService, browser: TestClient, account: str) -> None:
    form = {"csrf": csrf_of(browser.get(f"/accounts/{account}/remove").text)}
    assert browser.post(f"/accounts/{account}/remove", data=form).status_code == 200


def change_holder(service: ApiService, browser: TestClient, account: str) -> None:
    raised = update(ACCOUNTS).where(ACCOUNTS.c.id == account).values(session_number=ACCOUNTS.c.session_number + 1)
    service.parts.stores.registry.database.change(raised)


def grow_old(service: ApiService, browser: TestClient, account: str) -> None:
    seen = datetime.now(UTC) - timedelta(days=30)
    service.parts.stores.registry.database.change(update(ACCESS_KEYS).values(last_seen_at=seen))


def lose_the_sessions(service: ApiService, browser: TestClient, account: str) -> None:
    service.parts.stores.registry.database.change(delete(ACCESS_KEYS))


def lose_the_household(service: ApiService, browser: TestClient, account: str) -> None:
    service.parts.stores.registry.database.change(update(HOUSEHOLDS).values(sealed="AA=="))


ENDS = (
    log_out,
    end_from_another_browser,
    end_all_others,
    end_by_operator,
    erase,
    change_holder,
    grow_old,
    lose_the_sessions,
    lose_the_household,
)


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_m5_a_copied_cookie_is_refused_after_each_end(
    service: ApiService, account: str, end: Callable[[ApiService, TestClient, str], None]
) -> None:
    browser = service.browser(account)
    thief = copy_of(service, browser)
    assert sees(thief, account)
    end(service, browser, account)
    assert not sees(thief, account)


def test_a_new_consent_in_the_same_browser_ends_the_session_before(service: ApiService, account: str) -> None:
    browser, second = service.browser(account), service.add(12)
    thief = copy_of(service, browser)
    access = service.parts.access
    before = load_session(access, browser.cookies[SESSION_COOKIE])
    after, text = open_session(access, before, [service.parts.stores.registry.accounts.get(second)], "")
    assert list(after.accounts) == [account, second] and after.household == load_session(access, text).household
    assert not sees(thief, account)


def test_who_connects_the_same_meter_elsewhere_is_named_and_loses_it(service: ApiService, account: str) -> None:
    browser, other_account = service.browser(account), service.add(12)
    stranger = service.browser(account, other_account)
    page = browser.get("/access/sessions", headers=ENGLISH).text
    assert "Browsers of another household" in page and "Sign out all others" in page
    assert post(browser, "/access/sessions/end-others") == 303
    assert sees(browser, account) and not sees(stranger, account) and sees(stranger, other_account)
    assert "another household" not in browser.get("/access/sessions", headers=ENGLISH).text


def test_nobody_ends_the_session_of_another_household(service: ApiService, account: str) -> None:
    browser, neighbour = service.browser(account), service.browser(service.add(12))
    sid = load_session(service.parts.access, browser.cookies[SESSION_COOKIE]).sid
    assert post(neighbour, f"/access/sessions/{sid}/end") == 303
    assert post(neighbour, "/access/sessions/end-others") == 303
    assert sees(browser, account)


@pytest.mark.parametrize("path", ["/access/log-out", "/access/sessions/end-others", "/access/sessions/x/end"])
@pytest.mark.parametrize("csrf", ["", "0" * 64, "another session"])
def test_a_form_of_another_site_ends_nothing(service: ApiService, account: str, path: str, csrf: str) -> None:
    if csrf == "another session":
        csrf = service.parts.access.signer.csrf_token(Session().sid)
    browser = service.browser(account)
    other = second_browser(service, browser)
    assert browser.post(path, data={"csrf": csrf}, headers=FRENCH).status_code == 403
    assert sees(browser, account) and sees(other, account)


def test_the_page_names_the_devices_and_this_one_first(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    second_browser(service, browser)
    page = browser.get("/access/sessions", headers=FRENCH).text
    assert page.index("Firefox, Linux") < page.index("Safari, iPhone") and "ce navigateur" in page
    assert page.count("Déconnecter Safari, iPhone") == 1 and "Me déconnecter" in page
    assert 'href="/access/sessions"' in browser.get("/", headers=FRENCH).text


def test_without_a_session_there_is_no_such_page(service: ApiService) -> None:
    answer = service.stranger().get("/access/sessions", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_a_device_is_named_as_its_person_would(service: ApiService) -> None:
    windows = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/140.0.0.0 Safari/537.36 Edg/140.0"
    names = [name_device(agent) for agent in (PHONE, windows, "curl/8.1", "")]
    assert names == ["Safari, iPhone", "Edge, Windows", "", ""]


def test_a_visit_is_recorded_after_the_answer_and_one_that_is_not_costs_the_page_nothing(
    service: ApiService, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    account = service.add()
    browser, hour_ago = service.browser(account), datetime.now(UTC) - timedelta(hours=1)
    keys = service.parts.access.keys

    def seen_at() -> datetime:
        session = load_session(service.parts.access, browser.cookies[SESSION_COOKIE])
        assert session.key is not None
        return session.key.last_seen_at

    service.parts.stores.registry.database.change(update(ACCESS_KEYS).values(last_seen_at=hour_ago))
    with monkeypatch.context() as patch:
        patch.setattr(type(keys), "record_visit", lambda *_: (_ for _ in ()).throw(StoreUnavailable("it is read-only")))
        assert browser.get(f"/accounts/{account}").status_code == 200
    assert seen_at() == hour_ago and "visit not recorded" in caplog.text
    assert browser.get(f"/accounts/{account}").status_code == 200
    assert seen_at() > hour_ago
