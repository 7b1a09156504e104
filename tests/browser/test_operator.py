"""The operator's pages: signing in, finding an account, inviting and erasing. Each page is looked at, also by axe."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.browsed_pages import Site, open_site
from tests.support.browser import PHONE, allow_scripts, click, look_at, open_profile, text_of
from tests.support.connect_service import OTHER, ConnectServers
from tests.support.household_pages import METER, record_outcome
from tests.support.operators import NAME, PASSWORD, add_operator, set_clock
from tests.support.waiting import until
from worker.cli.access import new_operator_link
from worker.domain.series import USUAL_SERIES


def wait_for_element(browser: webdriver.Chrome, selector: str) -> None:
    until(lambda: browser.find_elements(By.CSS_SELECTOR, selector), f"{selector} on the page")


def fill(browser: webdriver.Chrome, form: str, awaited: str, **values: str) -> None:
    """Fill the fields of the form that is sent to an address, send it by the key Enter, and wait for an element."""
    fields = [browser.find_element(By.CSS_SELECTOR, f'form[action^="{form}"] [name="{name}"]') for name in values]
    for field, value in zip(fields, values.values(), strict=True):
        field.clear()
        field.send_keys(value)
    fields[-1].send_keys(Keys.ENTER)
    wait_for_element(browser, awaited)


def test_an_operator_signs_in_with_a_code_finds_invites_and_erases(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    now = datetime.now(UTC)
    with (
        open_site(servers, tmp_path, public_url="http://192.168.1.20:8000") as site,  # Elsewhere a code is needed.
        open_profile(browser, width=PHONE),
    ):
        account, operator = site.api.add(11), add_operator(site.parts)
        for series in USUAL_SERIES:
            record_outcome(site.api, account, series, code="VENDOR_DOWN")
        set_clock(site.parts, lambda: now)

        def code() -> str:
            nonlocal now
            now += timedelta(seconds=30)  # A code works once.
            return operator.code(now)

        browser.get(f"{site.address}/operator")
        look_at(browser, "operator-sign-in-elsewhere")
        fill(browser, "/operator/login", "#fault", name=NAME, password=PASSWORD, code="000000")
        look_at(browser, "operator-sign-in-wrong")
        fill(browser, "/operator/login", "#fresh", name=NAME, password=PASSWORD, code=code())
        look_at(browser, "operator-errors")
        browser.find_element(By.CSS_SELECTOR, "a[href='/operator/accounts?code=VENDOR_DOWN']").click()
        wait_for_element(browser, f"a[href*='{account}']")

        browser.get(f"{site.address}/operator")
        fill(browser, "/operator/search", "#search-fault", wanted="30001640000099")
        look_at(browser, "operator-search-unknown")
        fill(browser, "/operator/search", "#missing", wanted=METER)
        assert browser.current_url == f"{site.address}/operator/accounts/{account}#state", "no number"

        browser.get(f"{site.address}/operator/invitations")
        fill(browser, "/operator/invitations", "#invite-fault", whom="nobody")
        look_at(browser, "operator-invite-fault")
        fill(browser, "/operator/invitations", ".secret", whom=OTHER)
        look_at(browser, "operator-invitation")
        browser.get(f"{site.address}/operator/invitations")
        wait_for_element(browser, ".invited li")
        browser.get(f"{site.address}/operator/access")
        browser.find_element(By.CSS_SELECTOR, "details:has(form[action^='/operator/password']) summary").send_keys(
            Keys.ENTER
        )
        new = {"new": "password1234", "again": "password1234"}
        fill(browser, "/operator/password", "#access-fault", password=PASSWORD, **new, code=code())
        look_at(browser, "operator-password")
        browser.get(f"{site.address}/operator/accounts/{account}")
        browser.find_element(By.NAME, "text").send_keys("Rappeler lundi.")
        click(browser, "Enregistrer la note")
        wait_for_element(browser, "#done")
        browser.execute_script("document.querySelectorAll('details').forEach((one) => one.open = true)")
        look_at(browser, "operator-account")
        for sent, awaited in (("000000", "#fault"), (code(), "#receipt")):
            browser.find_element(By.NAME, "sure").click()
            fill(browser, f"/operator/accounts/{account}/erase", awaited, password=PASSWORD, code=sent)
        look_at(browser, "operator-erased")

        browser.get(f"{site.address}/operator/audit")
        browser.find_element(By.NAME, "account").send_keys(account, Keys.ENTER)
        until(lambda: f"account={account}" in browser.current_url, "the filter")
        rows = browser.find_elements(By.CSS_SELECTOR, "tbody tr")
        assert rows and all(account in row.text for row in rows)
        assert browser.find_element(By.NAME, "account").get_attribute("value") == account


@pytest.mark.parametrize("scripts", [True, False])
def test_a_link_opens_the_page_on_this_machine(site: Site, browser: webdriver.Chrome, scripts: bool) -> None:
    operator, access = add_operator(site.parts), site.parts.access
    with open_profile(browser, language="en"):
        allow_scripts(browser, scripts)
        found = access.operators.find(operator.name)
        assert found is not None
        link = new_operator_link(access, found, site.address)
        browser.get(link)
        field = browser.find_element(By.NAME, "link")
        assert field.is_displayed() is not scripts
        if scripts:
            assert "operator_link" not in browser.current_url, "the address bar keeps no secret"
        else:
            field.send_keys(link)
        browser.find_element(By.CSS_SELECTOR, "form button").click()
        wait_for_element(browser, "#fresh")
        if scripts:
            browser.get(link)
            browser.find_element(By.CSS_SELECTOR, "form button").click()
            until(lambda: "is no longer valid" in text_of(browser, "main"), "that the link is used up")
            look_at(browser, "operator-link-over")
