"""A name that a thief planted in somebody's browser opens nothing of what that browser does (finding M2).

A host of the same domain, or a plain connection, can plant a cookie. So the thief knows a name of the victim's browser.
What the victim's steps lead to is bound to names that only their own answers set, and opens one session.
"""

from __future__ import annotations

from typing import Final

import httpx2
import pytest
from fastapi.testclient import TestClient

from tests.integration.web.test_meter_reading import shown_by, type_reading
from tests.support.connect_service import METER, OTHER, PRESETS, PUBLIC, ConnectService, ConnectServices
from tests.support.household_pages import csrf_of, open_as_asked
from tests.support.proxy_stack import STACK, ProxyStack
from worker.domain.sessions import KeyKind
from worker.web.dependencies import FORM_COOKIE, SESSION_COOKIE
from worker.web.pages.consent_callback import BROWSER_COOKIE, MOST_NAMES

CONNECT: Final = BROWSER_COOKIE
SESSION: Final = SESSION_COOKIE
FORM: Final = FORM_COOKIE


def plant(thief: TestClient, victim: TestClient) -> None:
    """Put the thief's names in the victim's browser."""
    victim.cookies.set(CONNECT, thief.cookies[CONNECT], domain="testserver.local", path="/")


def sessions_of(answer: httpx2.Response) -> list[str]:
    return [line for line in answer.headers.get_list("set-cookie") if SESSION in line]


def sees_nothing(service: ConnectService, thief: TestClient, path: str, status: int = 403) -> None:
    answer = thief.get(path)
    assert answer.status_code == status and "location" not in answer.headers, answer.text
    assert not sessions_of(answer) and not service.session(thief).accounts


def test_m2_whoever_planted_a_name_gets_nothing_of_the_consent(service: ConnectService) -> None:
    thief, victim = service.browser(), service.browser()
    back = service.begin(thief)
    plant(thief, victim)
    first = victim.get(back)
    assert first.status_code == 202
    waiting = thief.get(back)
    assert waiting.status_code == 202 and not sessions_of(waiting) and "set-cookie" not in waiting.headers
    service.work()
    sees_nothing(service, thief, back)  # It is not faster than the victim.
    done = victim.get(back)
    (account,) = service.accounts()
    assert (done.status_code, done.headers["location"]) == (303, f"/accounts/{account.id}") and sessions_of(done)
    sees_nothing(service, thief, back)
    assert thief.get(f"/accounts/{account.id}").status_code == 404
    again = victim.get(back)
    assert again.headers["location"] == f"/accounts/{account.id}" and not sessions_of(again)


def test_m2_an_outcome_opens_one_session(service: ConnectService) -> None:
    victim, copy = service.browser(), service.browser()
    back = service.begin(victim)
    victim.get(back)
    copy.cookies.set(CONNECT, victim.cookies[CONNECT], domain="testserver.local", path="/")
    service.work()
    assert sessions_of(victim.get(back))
    sees_nothing(service, copy, back)
    victim.cookies.delete(SESSION)  # As after its log-out.
    sees_nothing(service, victim, back)


def test_m2_an_invitation_opens_its_account_again_for_its_own_browser_and_once(service: ConnectService) -> None:
    thief, victim, secret = service.browser(), service.browser(), service.invite()
    thief.get("/connect/enedis")
    plant(thief, victim)
    back = service.agree(service.open_invitation(victim, secret).headers["location"])
    service.come_back(victim, back)
    (account,) = service.accounts()
    for stranger in (thief, service.browser()):
        assert service.open_invitation(stranger, secret).status_code == 410
    victim.cookies.delete(SESSION)
    assert service.open_invitation(victim, secret).headers["location"] == f"/accounts/{account.id}"
    victim.cookies.delete(SESSION)
    again = service.open_invitation(victim, secret)
    assert again.status_code == 403 and not sessions_of(again)


def test_m2_whoever_opened_an_invitation_first_and_planted_that_name_gets_nothing(service: ConnectService) -> None:
    thief, victim, secret = service.browser(), service.browser(), service.invite()
    back = service.agree(service.open_invitation(thief, secret).headers["location"])
    plant(thief, victim)
    assert service.come_back(victim, back).status_code == 303
    sees_nothing(service, thief, back)
    answer = service.open_invitation(thief, secret)
    assert answer.status_code == 410 and not sessions_of(answer)


def test_m2_a_reading_that_the_victim_types_is_not_for_whoever_made_the_request(v2026: ConnectService) -> None:
    thief, victim = v2026.browser(), v2026.browser()
    back = v2026.begin_uninvited(thief)
    assert thief.get(back).status_code == 403
    plant(thief, victim)
    assert type_reading(victim, shown_by(v2026)).status_code == 303
    v2026.work()
    sees_nothing(v2026, thief, back)
    sees_nothing(v2026, thief, "/connect/reading/outcome", 404)
    sees_nothing(v2026, thief, "/connect/reading", 404)
    button = victim.get("/connect/reading/outcome")
    copy = v2026.browser()
    copy.cookies.update(victim.cookies)
    done = open_as_asked(victim, button)
    (account,) = v2026.accounts()
    assert done.headers["location"] == f"/accounts/{account.id}" and sessions_of(done)
    sees_nothing(v2026, thief, back)
    sees_nothing(v2026, copy, "/connect/reading/outcome")
    late = open_as_asked(copy, button)
    assert late.status_code == 403 and not sessions_of(late), "the outcome opens one session"
    assert victim.get("/connect/reading/outcome").headers["location"] == f"/accounts/{account.id}"


def test_m2_whoever_planted_a_name_gets_no_code_of_the_proxy(service: ConnectService) -> None:
    stack = ProxyStack.register(service, STACK)
    thief, victim = service.browser(), service.browser()
    back = stack.begin(thief)
    plant(thief, victim)
    assert victim.get(back).status_code == 202
    service.work()
    sees_nothing(service, thief, back)
    assert service.come_back(victim, back).headers["location"].startswith(f"{STACK}?")
    sees_nothing(service, thief, back)


def test_m2_an_invitation_that_was_opened_at_the_proxy_has_a_name_of_its_own(v2026: ConnectService) -> None:
    stack = ProxyStack.register(v2026, STACK)
    thief, victim = v2026.browser(), v2026.browser()
    thief.get("/connect/enedis")
    plant(thief, victim)
    assert stack.press(victim, stack.show(victim), v2026.invite()).status_code == 303
    assert "que vous avez ouverte" not in stack.show(thief).text
    assert "que vous avez ouverte" in stack.show(victim).text


def test_two_tabs_at_once_end_both_consents(service: ConnectService) -> None:
    browser = service.browser()
    backs = [service.begin(browser, meter) for meter in (METER, OTHER)]
    for back in reversed(backs):
        assert service.join(browser, service.come_back(browser, back)).status_code == 303
    assert {account.usage_point_id for account in service.accounts()} == {METER, OTHER}
    assert set(service.session(browser).accounts) == {account.id for account in service.accounts()}


def test_the_newest_names_are_kept_each_for_a_week(v4: ConnectService, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = v4.browser()
    for _ in range(MOST_NAMES + 2):
        browser.get("/connect/enedis")
    names = browser.cookies[CONNECT].split(".")
    assert len(set(names)) == MOST_NAMES
    back = v4.begin(browser)
    newest = browser.cookies[CONNECT].split(".")[0]
    browser.cookies.clear()
    older = f"{int(newest[:8], 16) - 8 * 86_400:08x}{newest[8:]}"
    for forged in (older, newest[8:], f"{newest}x", newest.upper(), "", "."):
        browser.cookies.set(CONNECT, forged, domain="testserver.local", path="/")
        assert browser.get(back).status_code == 403
    browser.cookies.set(CONNECT, f"x.{newest}", domain="testserver.local", path="/")
    assert v4.come_back(browser, back).status_code == 303


# Over https


@pytest.fixture(params=PRESETS[:2])
def https(request: pytest.FixtureRequest, kept_services: ConnectServices) -> ConnectService:
    service = kept_services.empty(request.param)
    service.parts.change_settings(public_url=PUBLIC.replace("http", "https"))
    return service


def secure_browser(service: ConnectService) -> TestClient:
    return TestClient(service.app, base_url=PUBLIC.replace("http", "https"), follow_redirects=False)


def test_m2_over_https_cookies_have_names_that_no_other_host_can_set(https: ConnectService) -> None:
    browser, set_cookies = secure_browser(https), list[str]()
    browser.event_hooks["response"].append(lambda answer: set_cookies.extend(answer.headers.get_list("set-cookie")))
    assert https.connect(browser).status_code == 303
    browser.get("/invitation")
    assert {line.partition("=")[0] for line in set_cookies} == {f"__Host-{name}" for name in (CONNECT, SESSION, FORM)}
    for line in set_cookies:
        assert "; Path=/" in line and "; Secure" in line and "; HttpOnly" in line and "domain" not in line.lower()


def test_m2_over_https_a_planted_plain_name_is_nobodys(https: ConnectService) -> None:
    thief, victim = secure_browser(https), secure_browser(https)
    back = https.begin(thief)
    victim.cookies.set(CONNECT, thief.cookies[f"__Host-{CONNECT}"], domain="testserver.local", path="/")
    refused = victim.get(back)
    assert refused.status_code == 403 and not sessions_of(refused)
    assert https.come_back(thief, back).status_code == 303


# Starts of strangers behind the same address (finding M6c)


@pytest.mark.generations  # Only with v4 is a household a stranger when it starts.
@pytest.mark.parametrize("service", PRESETS[:2], indirect=True)
def test_m6_strangers_do_not_lock_out_an_invited_household_of_their_address(service: ConnectService) -> None:
    invited, household, stranger = service.browser(), service.browser(), service.browser()
    service.connect(household, OTHER)
    started = (
        1 if service.parts.sync.suppliers.main.account_tokens else 0
    )  # The household, which was a stranger with v4.
    for _ in range(60 - started):
        assert stranger.get("/connect/enedis").status_code == 303
    assert stranger.get("/connect/enedis").status_code == 429
    assert service.browser().get("/connect/enedis").status_code == 429
    for _ in range(30):  # Wrong ones are counted by address as well.
        assert service.open_invitation(stranger, "invite_x").status_code in (410, 429)
    assert service.open_invitation(stranger, "invite_x").status_code == 429
    secret = service.invite()
    assert service.open_invitation(invited, secret).status_code == 303
    assert service.open_invitation(invited, secret).status_code == 303
    assert invited.get("/connect/enedis").status_code == 303
    assert household.get("/connect/enedis").status_code == 303
    stack = ProxyStack.register(service, STACK)
    assert stack.press(invited, stack.show(invited)).status_code == 303
    assert stack.press(stranger, stack.show(stranger)).status_code == 429


def test_m6_no_household_starts_without_end(v4: ConnectService) -> None:
    household = v4.browser()
    v4.connect(household)
    answers = [household.get("/connect/enedis").status_code for _ in range(61)]
    assert set(answers[:60]) == {303} and answers[60] == 429


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Dest": "image", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Dest": "iframe", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Dest": "empty", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Site": "cross-site"},
    ],
)
def test_m6_parts_of_other_pages_spend_no_start(v4: ConnectService, headers: dict[str, str]) -> None:
    somebody = v4.browser()
    for _ in range(61):
        refused = somebody.get("/connect/enedis", headers=headers)
        assert refused.status_code == 403 and "set-cookie" not in refused.headers
    assert v4.parts.stores.redis.keys("releve:consent_flow:*") == []
    visit = {"Sec-Fetch-Dest": "document", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Site": "cross-site"}
    assert somebody.get("/connect/enedis", headers=visit).status_code == 303


def test_a_page_that_was_finished_elsewhere_leads_to_the_first_page(v4: ConnectService) -> None:
    browser, other = v4.browser(), v4.browser()
    back = v4.begin(browser)
    other.cookies.set(CONNECT, browser.cookies[CONNECT], domain="testserver.local", path="/")
    v4.come_back(browser, back)
    for language, words in (("fr", "Cette étape est déjà terminée"), ("en", "This step is already finished")):
        page = other.get(back, headers={"Accept-Language": language})
        assert page.status_code == 403 and words in page.text and 'href="/"' in page.text


def test_the_choice_of_a_new_holder_takes_the_form_of_its_own_page(v4: ConnectService) -> None:
    v4.connect(v4.browser())
    browser = v4.browser()
    asked = v4.connect(browser)
    request_id = asked.text.partition('name="connection" value="')[2].partition('"')[0]
    browser.cookies.delete(FORM)
    form = {"connection": request_id, "csrf": csrf_of(asked.text)}
    assert browser.post("/connect/new-holder", data=form).status_code == 403


def test_m2_whoever_planted_a_session_over_plain_http_gets_no_account_of_the_victims(v4: ConnectService) -> None:
    thief, victim = v4.browser(), v4.browser()
    v4.connect(thief)
    household = v4.session(thief).household
    assert household is not None
    _, other = v4.parts.access.keys.create(KeyKind.HOUSEHOLD_SESSION, household.id)
    victim.cookies.set(SESSION, thief.cookies[SESSION], domain="testserver.local", path="/")
    v4.connect(victim, OTHER)
    thief.cookies.set(SESSION, other, domain="testserver.local", path="/")
    assert len(v4.session(thief).accounts) == 1 and len(v4.accounts()) == 2
