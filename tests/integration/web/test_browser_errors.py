"""D4: the pages in a real browser where calls fail: the household's sentence, and the operator's list of codes."""

from __future__ import annotations

from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.browsed_pages import look_at_all_widths, open_browsed_service, open_pages
from tests.support.browser import open_profile, text_of, wait_for
from tests.support.household_pages import record_outcome
from tests.support.operators import add_operator
from worker.domain.measures.series import Series

CODES = ("VENDOR_DOWN.ANSWER_BROKEN_OFF", "RATE_LIMITED.BY_SUPPLIER", "ANSWER_MALFORMED.UNIT", "UNKNOWN_ERROR")


def test_d4_a_failure_is_said_on_both_pages(redis_url: str, tmp_path: Path, browser: webdriver.Chrome) -> None:
    with open_browsed_service(redis_url, tmp_path) as (service, address), open_profile(browser):
        accounts = [service.add(number) for number in range(11, 11 + len(CODES))]
        for account, code in zip(accounts, CODES, strict=True):
            record_outcome(service, account, Series.DAILY, code=code)
        open_pages(browser, service, address, accounts[0])
        browser.get(f"{address}/accounts/{accounts[0]}?lang=fr")
        assert "La réponse d’Enedis a été interrompue." in text_of(browser, "#connection")
        look_at_all_widths(browser, "error-account")
        operator = add_operator(service.runtime)
        browser.get(f"{address}/operator?lang=fr")
        browser.find_element(By.NAME, "name").send_keys(operator.name)
        browser.find_element(By.NAME, "password").send_keys(operator.password, Keys.ENTER)
        wait_for(browser, "ANSWER_MALFORMED.UNIT")
        look_at_all_widths(browser, "error-operator")
