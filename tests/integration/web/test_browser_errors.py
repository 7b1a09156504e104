"""D4: the pages in a real browser where calls fail: the household's sentence, and the operator's list of codes."""

from __future__ import annotations

from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.integration.web.test_browser_gas import look_at_all_widths, open_pages
from tests.support.api_service import open_api_service
from tests.support.browser import open_profile, text_of, wait_for
from tests.support.household_pages import record_outcome
from tests.support.operators import add_operator
from tests.support.simulators import run_in_background
from worker.domain.measures.series import Series
from worker.stores.redis.child_processes import free_port

CODES = ("VENDOR_DOWN.ANSWER_BROKEN_OFF", "RATE_LIMITED.BY_SUPPLIER", "ANSWER_MALFORMED.UNIT", "UNKNOWN_ERROR")


def test_d4_a_failure_is_said_on_both_pages(redis_url: str, tmp_path: Path, browser: webdriver.Chrome) -> None:
    port = free_port()
    settings = {"public_url": f"http://127.0.0.1:{port}"}
    with (
        open_api_service(redis_url, tmp_path, **settings) as service,
        run_in_background(service.app, port) as address,
        open_profile(browser),
    ):
        accounts = [service.add(number) for number in range(11, 11 + len(CODES))]
        for account, code in zip(accounts, CODES, strict=True):
            record_outcome(service, account, Series.DAILY, code=code)
        open_pages(browser, service, address, accounts[0])
        browser.get(f"{address}/accounts/{accounts[0]}?lang=fr")
        assert "La réponse d’Enedis s’est interrompue en route." in text_of(browser, "#connection")
        look_at_all_widths(browser, "error-account")
        operator = add_operator(service.runtime)
        browser.get(f"{address}/operator?lang=fr")
        browser.find_element(By.NAME, "name").send_keys(operator.name)
        browser.find_element(By.NAME, "password").send_keys(operator.password, Keys.ENTER)
        wait_for(browser, "ANSWER_MALFORMED.UNIT")
        look_at_all_widths(browser, "error-operator")
