"""The devices of a household in a real browser: seen and signed out by the keyboard, on the narrowest phone too."""

from __future__ import annotations

from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.api_service import sign_in
from tests.support.browsed_pages import open_browsed_service, set_session
from tests.support.browser import look_at, open_profile, set_screen, wait_for
from worker.domain.consent.access_keys import KeyKind
from worker.web.sessions import SESSION_COOKIE, load_session

NARROWEST = 320


@pytest.mark.parametrize("language, name", [("fr", "Appareils connectés"), ("en", "Signed-in devices")])
def test_a_household_signs_its_old_phone_out(
    redis_url: str, tmp_path: Path, browser: webdriver.Chrome, language: str, name: str
) -> None:
    with (
        open_browsed_service(redis_url, tmp_path) as (service, address),
        open_profile(browser, language=language, width=NARROWEST),
    ):
        account = service.add()
        cookie, _ = sign_in(service.runtime, account)
        other, _ = sign_in(service.runtime, account)
        access = service.runtime.web_access
        household = load_session(access, cookie).household
        assert household is not None
        _, phone = access.keys.create(KeyKind.HOUSEHOLD_SESSION, household.id, device="Safari, iPhone")
        set_session(browser, address, SESSION_COOKIE, cookie)

        browser.get(f"{address}/access/sessions")
        wait_for(browser, name)
        look_at(browser, f"sessions-{language}")
        set_screen(browser, NARROWEST)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= NARROWEST
        body = browser.find_element(By.TAG_NAME, "body")
        for _ in range(20):
            body.send_keys(Keys.TAB)
            focused = browser.switch_to.active_element
            if "iPhone" in (focused.get_attribute("aria-label") or ""):
                break
        focused.send_keys(Keys.ENTER)
        wait_for(browser, name)
        assert load_session(access, phone).key is None and load_session(access, cookie).key is not None
        browser.find_element(By.CSS_SELECTOR, ".button.red").click()
        wait_for(browser, name)
        assert load_session(access, other).household is None
