"""The audit trail in a real browser, for an operator: by keyboard, on a phone's width, in both languages, by axe."""

from __future__ import annotations

from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.browsed_pages import open_browsed_service, set_session
from tests.support.browser import go, look_at, open_profile, text_of
from tests.support.cast import OPERATOR, Cast
from tests.support.waiting import until
from worker.domain.consent.scopes import Scope
from worker.web.api.auth import CSRF_HEADER
from worker.web.sessions import OPERATOR_COOKIE


def test_an_operator_reads_who_did_what(redis_url: str, tmp_path: Path, browser: webdriver.Chrome) -> None:
    with open_browsed_service(redis_url, tmp_path) as (service, address), open_profile(browser):
        cast = Cast(service, 41)
        account, household = cast.home.id, service.browser(cast.other_home.id)
        service.client().post(f"/api/accounts/{account}/pause")
        service.client(Scope.READ_ACCOUNTS).delete(f"/api/accounts/{account}")
        form = {"csrf": household.headers[CSRF_HEADER]}
        household.post(f"/accounts/{cast.other_home.id}/stop", data=form)

        set_session(browser, address, OPERATOR_COOKIE, cast.client(OPERATOR).cookies[OPERATOR_COOKIE])
        browser.get(f"{address}/operator?lang=en")
        go(browser, "Audit log", "kept for 400 days")
        for words in (account, "account.erase", "scope_needed", "account.stop"):
            assert words in text_of(browser, "table")
        look_at(browser, "operator-audit")
        browser.find_element(By.NAME, "account").send_keys(account, Keys.ENTER)
        until(lambda: len(browser.find_elements(By.CSS_SELECTOR, "tbody tr")) == 2, "the two entries of the account")
        assert browser.find_element(By.NAME, "account").get_attribute("value") == account
        browser.get(f"{address}/operator/audit?lang=fr&until=2026-01-01")
        assert "Aucune entrée" in text_of(browser, "main")
        look_at(browser, "operator-audit-empty")
