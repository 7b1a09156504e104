"""The operator's page in a real browser, in both languages, on a screen of 1000 px and on a phone of 320 px."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.api_service import ApiService, open_api_service
from tests.support.axe import find_barriers
from tests.support.browser import VARIABLE, allow_scripts, check_page, open_profile, set_screen, text_of
from tests.support.factories import NOW
from tests.support.operators import PASSWORD, TestOperator, add_operator, set_clock
from tests.support.simulators import run_in_background
from tests.support.waiting import until
from worker.cli.operators import new_operator_link
from worker.domain.measures.series import Series
from worker.stores.redis.child_processes import free_port

WIDTHS = (1000, 320)


@dataclass
class Site:
    """A service with an operator; ``now`` moves on, for a code works once."""

    service: ApiService
    address: str
    operator: TestOperator
    now: datetime

    def code(self) -> str:
        self.now += timedelta(seconds=30)
        return self.operator.code(self.now)


@contextmanager
def open_site(redis_url: str, folder: Path, public_url: str = "") -> Iterator[Site]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with open_api_service(redis_url, folder, public_url=public_url or address) as service:
        site = Site(service, address, add_operator(service.runtime), datetime.now(UTC))
        set_clock(service.runtime, lambda: site.now)
        with run_in_background(service.app, port):
            yield site


def look(browser: webdriver.Chrome, name: str, language: str) -> None:
    """Check the page as it is shown, by axe too, at each width."""
    for width in WIDTHS:
        set_screen(browser, width)
        check_page(browser)
        assert find_barriers(browser) == [], f"{name}, {width} px"
        if folder := os.environ.get(VARIABLE):
            height = browser.execute_script("return document.documentElement.scrollHeight")
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            browser.save_screenshot(f"{folder}/{name}-{width}-{language}.png")


def fill(browser: webdriver.Chrome, form: str, **values: str) -> None:
    """Fill the fields of the form that is sent to an address, and send it by the key Enter."""
    fields = [browser.find_element(By.CSS_SELECTOR, f'form[action^="{form}"] [name="{name}"]') for name in values]
    for field, value in zip(fields, values.values(), strict=True):
        field.clear()
        field.send_keys(value)
    fields[-1].send_keys(Keys.ENTER)


@pytest.mark.parametrize("language", ["fr", "en"])
def test_an_operator_signs_in_with_a_code_and_uses_the_page(
    browser: webdriver.Chrome, redis_url: str, tmp_path: Path, language: str
) -> None:
    with (
        open_site(redis_url, tmp_path, "http://192.168.1.20:8000") as site,
        open_profile(browser, language=language),
    ):
        account_id = site.service.add(11)
        browser.get(f"{site.address}/operator")
        look(browser, "operator-sign-in", language)
        fill(browser, "/operator/login", name="alice", password=PASSWORD, code="000000")
        until(lambda: browser.find_elements(By.ID, "fault"), "what is wrong")
        look(browser, "operator-sign-in-wrong", language)
        fill(browser, "/operator/login", name="alice", password=PASSWORD, code=site.code())
        until(lambda: browser.find_elements(By.ID, "access"), "the operator's page")
        look(browser, "operator-page", language)
        for series in (Series.DAILY, Series.LOAD_CURVE):
            site.service.runtime.registry.outcomes.record(
                account_id, series, "run", NOW, code="VENDOR_DOWN", message="", last_day=None, stored=False
            )
        browser.get(f"{site.address}/operator")
        look(browser, "operator-page-errors", language)
        browser.find_element(By.CSS_SELECTOR, "a[href='/operator/accounts?code=VENDOR_DOWN']").click()
        until(lambda: browser.find_elements(By.LINK_TEXT, account_id), "the accounts with this code")
        look(browser, "operator-accounts", language)
        browser.get(f"{site.address}/operator/accounts")
        look(browser, "operator-accounts-none", language)
        browser.get(f"{site.address}/operator")
        fill(browser, "/operator/search", wanted="30001640000099")
        until(lambda: browser.find_elements(By.ID, "search-fault"), "that no account reads this meter")
        look(browser, "operator-search-unknown", language)
        fill(browser, "/operator/search", wanted="30001640000011")
        until(lambda: browser.find_elements(By.ID, "missing"), "the account")
        assert browser.current_url == f"{site.address}/operator/accounts/{account_id}#state", "no number"
        look(browser, "operator-account", language)
        browser.get(f"{site.address}/operator")
        browser.find_element(By.CSS_SELECTOR, "details summary").send_keys(Keys.ENTER)
        fill(
            browser, "/operator/password", password=PASSWORD, new="password1234", again="password1234", code=site.code()
        )
        until(lambda: browser.find_elements(By.ID, "access-fault"), "why the password is refused")
        look(browser, "operator-password", language)
        fill(browser, "/operator/erase", account="nobody", password=PASSWORD, code=site.code())
        until(lambda: browser.find_elements(By.ID, "erase-fault"), "that there is no such account")
        fill(browser, "/operator/erase", account=account_id, password=PASSWORD, code=site.code())
        until(lambda: browser.find_elements(By.ID, "receipt"), "the receipt")
        look(browser, "operator-erased", language)


@pytest.mark.parametrize("scripts", [True, False])
def test_a_link_opens_the_page_on_this_machine(
    browser: webdriver.Chrome, redis_url: str, tmp_path: Path, scripts: bool
) -> None:
    with open_site(redis_url, tmp_path) as site, open_profile(browser, language="en"):
        allow_scripts(browser, scripts)
        access = site.service.runtime.web_access
        link = new_operator_link(access, access.operators.find("alice"), site.address)
        browser.get(link)
        field = browser.find_element(By.NAME, "link")
        assert field.is_displayed() is not scripts
        if scripts:
            assert "operator_link" not in browser.current_url, "the address bar keeps no secret"
            look(browser, "operator-link", "en")
        else:
            field.send_keys(link)
        browser.find_element(By.CSS_SELECTOR, "form button").click()
        until(lambda: browser.find_elements(By.ID, "access"), "the operator's page")
        assert "You are signed in as alice" in text_of(browser, "main")
        if scripts:
            browser.get(link)
            browser.find_element(By.CSS_SELECTOR, "form button").click()
            until(lambda: "is no longer valid" in text_of(browser, "main"), "that the link is used up")
            look(browser, "operator-link-over", "en")
