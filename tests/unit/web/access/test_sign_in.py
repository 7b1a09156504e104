"""Signing in with the recovery code: single use, heard behind any number of wrong ones, no hint of what is known."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.api_service import ApiService
from tests.support.household_pages import FRENCH, csrf_of
from tests.support.sql_statements import changes_something, watch_statements
from tests.support.ways_back import CODE, enter_code, keep_code, press, session_of, shown_code
from worker.accounts.household_access import LATER
from worker.domain.sessions import KEY_LIVES, KeyKind
from worker.runtime.consent_parts import erase
from worker.web.dependencies import open_session
from worker.web.rendering import find_access_notice

ENGLISH = {"Accept-Language": "en"}
WRONG = "0123-4567-89AB-CDEF-GHJK-MNPQ"


def test_d1_a_new_household_has_a_code_that_is_shown_until_it_is_kept(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    page = browser.get(f"/accounts/{account}", headers=ENGLISH).text
    assert "Save your recovery code" in page and not CODE.search(page)
    code = shown_code(browser)
    assert CODE.fullmatch(code) and shown_code(browser) == code
    assert keep_code(browser) == code
    assert shown_code(browser) == ""
    assert "Save your recovery code" not in browser.get(f"/accounts/{account}", headers=ENGLISH).text
    assert "code" not in session_of(service, browser).key.details  # type: ignore[union-attr]


def test_d1_a_code_opens_the_household_in_another_browser_once(service: ApiService, account: str) -> None:
    code = keep_code(service.browser(account))
    phone = service.stranger()
    assert phone.get(f"/accounts/{account}").status_code == 404
    entered = enter_code(phone, f" {code.lower().replace('-', ' ')} ")
    assert (entered.status_code, entered.headers["location"]) == (303, "/access")
    assert phone.get(f"/accounts/{account}").status_code == 200
    new = shown_code(phone)
    assert new and new != code
    assert enter_code(service.stranger(), code).status_code == 403
    assert enter_code(service.stranger(), new).status_code == 303


def test_m6_the_right_code_opens_after_a_hundred_wrong_ones_of_the_same_address(
    service: ApiService, account: str
) -> None:
    code = keep_code(service.browser(account))
    guesser = service.stranger()
    form = {"csrf": csrf_of(guesser.get("/sign-in").text)}
    near = code[:-1] + ("0" if code[-1] != "0" else "1")
    answers = [guesser.post("/sign-in/code", data={**form, "code": near}) for _ in range(100)]
    assert [answer.status_code for answer in answers[:6]] == [403] * 5 + [429]
    assert {answer.status_code for answer in answers[6:]} == {429}
    assert int(answers[-1].headers["Retry-After"]) > 0
    assert enter_code(service.stranger(), code).status_code == 303


def test_unknown_and_wrong_codes_get_the_same_page(service: ApiService, account: str) -> None:
    code = keep_code(service.browser(account))
    near = code[:-1] + ("0" if code[-1] != "0" else "1")
    browser = service.stranger()
    pages = [enter_code(browser, text).text.replace(text, "…") for text in (near, WRONG)]
    assert pages[0] == pages[1]


@pytest.mark.parametrize("text", ["", "x", "no code at all", "é" * 30, "household_k3q7d0fr2mxx_" + "a" * 43])
def test_what_is_no_code_is_refused_and_counted(service: ApiService, text: str) -> None:
    browser = service.stranger()
    form = {"csrf": csrf_of(browser.get("/sign-in").text), "code": text}
    statuses = [browser.post("/sign-in/code", data=form).status_code for _ in range(21)]
    assert statuses == [403] * 20 + [429]


def test_a_typed_code_stays_in_the_form_as_text(service: ApiService) -> None:
    page = enter_code(service.stranger(), '"><b>x').text
    assert "&#34;&gt;&lt;b&gt;x" in page and "<b>x" not in page


def test_a_form_of_another_site_signs_nobody_in_nor_out(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    code = shown_code(browser)
    for action in ("/sign-in/code", "/sign-in/link", "/access/confirm", "/access/kept", "/access/code"):
        refused = browser.post(action, data={"code": code, "link": code, "csrf": "0" * 64})
        assert refused.status_code == 403, action
    assert shown_code(browser) == code


def test_looking_at_the_pages_changes_nothing(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    with watch_statements(changes_something) as writes:
        for page in ("/sign-in", "/sign-in/link", "/access", "/access/confirm", "/sign-in/code", "/access/kept"):
            browser.get(page)
    assert not writes


def test_a_stranger_is_led_to_the_sign_in_page(service: ApiService) -> None:
    browser = service.stranger()
    for answer in (
        browser.get("/access", follow_redirects=False),
        *(browser.post(f"/access/{action}", follow_redirects=False) for action in ("kept", "code", "address/remove")),
    ):
        assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")


def test_a_new_code_ends_the_old_one(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    old = keep_code(browser)
    assert press(browser, "/access", "/access/code").status_code == 303
    new = shown_code(browser)
    assert new not in ("", old)
    assert enter_code(service.stranger(), old).status_code == 403
    assert enter_code(service.stranger(), new).status_code == 303


def test_a_code_that_another_browser_has_replaced_is_shown_no_more(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    phone = service.stranger()
    enter_code(phone, shown_code(browser))
    assert shown_code(browser) == "" and shown_code(phone)


def test_a_code_that_waits_to_be_kept_survives_another_meter(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    code, session = shown_code(browser), session_of(service, browser)
    other = service.parts.stores.registry.accounts.get(service.add(12))
    renewed, _ = open_session(service.parts.access, session, [other], "Firefox")
    assert renewed.key is not None and renewed.key.details == {"code": code}


def test_signing_in_again_puts_the_end_of_the_session_off(service: ApiService, account: str) -> None:
    browser = service.stranger()
    enter_code(browser, keep_code(service.browser(account)))
    before = session_of(service, browser)
    enter_code(browser, keep_code(browser))
    after = session_of(service, browser)
    assert before.key and after.key and before.key.id != after.key.id
    keys = {key.id for key in service.parts.access.keys.list_keys([after.key.owner])}
    assert after.key.id in keys and before.key.id not in keys, "the session before has ended"


def test_a_household_without_any_way_back_is_told_until_it_has_one(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    session = session_of(service, browser)
    assert session.key
    service.parts.access.keys.end_of([session.key.owner], [KeyKind.RECOVERY_CODE])
    assert "Without a recovery code or email address" in browser.get(f"/accounts/{account}", headers=ENGLISH).text
    press(browser, "/access", "/access/code")
    keep_code(browser)
    assert "recovery code nor" not in browser.get(f"/accounts/{account}", headers=ENGLISH).text


def test_the_notice_of_the_code_is_put_off_for_a_week(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    page = browser.get(f"/accounts/{account}?by=day", headers=ENGLISH).text
    assert f'name="back" value="/accounts/{account}?by=day"' in page
    for path in (f"/accounts/{account}/stop", f"/accounts/{account}/remove", "/accounts/none"):
        assert 'class="card notice"' not in browser.get(path).text, "no notice on a form that confirms, nor on an error"
    form = {"csrf": csrf_of(page), "back": f"/accounts/{account}?by=day"}
    done = browser.post("/access/later", data=form, headers=ENGLISH)
    assert done.url.path == f"/accounts/{account}" and 'class="card notice"' not in done.text
    session = session_of(service, browser)
    assert session.key and shown_code(browser), "the code is still there to be noted"
    week_ago = (datetime.now(UTC) - timedelta(minutes=1)).isoformat()
    service.parts.access.keys.set_details(session.key, {**session_of(service, browser).details, LATER: week_ago})
    assert 'class="card notice"' in browser.get(f"/accounts/{account}").text


@pytest.mark.parametrize("back", ["", "//other.example/", "/\\other.example", "https://other.example/"])
def test_putting_the_notice_off_leads_to_no_other_host(service: ApiService, account: str, back: str) -> None:
    browser = service.browser(account)
    form = {"csrf": csrf_of(browser.get(f"/accounts/{account}").text), "back": back}
    location = browser.post("/access/later", data=form, follow_redirects=False).headers["location"]
    assert location.startswith("/") and location[1:2] not in ("/", "\\")


@pytest.mark.parametrize(("days", "is_told"), [(13, True), (15, False)])
def test_the_end_of_a_session_is_told_two_weeks_before(
    service: ApiService, account: str, days: int, is_told: bool
) -> None:
    browser = service.browser(account)
    keep_code(browser)
    session = session_of(service, browser)
    assert session.key
    ends_at = datetime.now(UTC) + timedelta(days=days)
    ending = replace(session, key=replace(session.key, expires_at=ends_at))
    notice = find_access_notice(service.parts.stores.settings, service.parts.access, ending, f"/accounts/{account}")
    assert (notice is not None and notice.key == "access.notice.ends") is is_told


def test_d18_the_page_of_a_removed_account_promises_no_history(service: ApiService, account: str) -> None:
    browser = service.browser(account)
    page = browser.get(f"/accounts/{account}/remove", headers=FRENCH).text
    browser.post(f"/accounts/{account}/remove", data={"csrf": csrf_of(page)}, headers=FRENCH)
    gone = browser.get(f"/accounts/{account}", headers=FRENCH).text
    assert "effacées définitivement" in gone and "historique" not in gone and 'href="/sign-in"' in gone
    assert gone == service.stranger().get(f"/accounts/{account}", headers=FRENCH).text


def test_the_last_accounts_erasure_ends_its_households_code(service: ApiService, account: str) -> None:
    browser, other = service.browser(account, service.add(12)), service.browser(service.add(13))
    code, others = keep_code(browser), keep_code(other)
    owner = session_of(service, browser).key.owner  # type: ignore[union-attr]
    erase(service.parts.stores, account)
    assert service.parts.access.ways_back.find(owner, {}).code_since, "another meter is left"
    erase(service.parts.stores, session_of(service, browser).household.accounts.copy().popitem()[0])  # type: ignore[union-attr]
    assert enter_code(service.stranger(), code).status_code == 403
    assert enter_code(service.stranger(), others).status_code == 303


def test_no_code_and_no_link_stands_in_a_log(
    service: ApiService, account: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    browser = service.browser(account)
    code = keep_code(browser)
    enter_code(service.stranger(), WRONG)
    enter_code(service.stranger(), code)
    press(service.stranger(), "/sign-in/link", "/sign-in/link", link="sign_in_link_k3q7d0fr2mxx_" + "a" * 43)
    assert "recovery code refused" in caplog.text
    for secret in (code, code.replace("-", ""), WRONG, "a" * 43):
        assert secret not in caplog.text


def test_a_session_lives_as_long_as_the_page_says(service: ApiService, account: str) -> None:
    page = service.browser(account).get("/access", headers=ENGLISH).text
    idle = KEY_LIVES[KeyKind.HOUSEHOLD_SESSION].idle
    assert idle and f"once every {idle.days} days" in page


def test_the_home_page_leads_to_the_way_in_and_to_the_way_back(service: ApiService, account: str) -> None:
    assert 'href="/sign-in"' in service.stranger().get("/").text
    assert 'href="/access"' in service.browser(account).get("/").text
