"""A household's page in every state in a real browser, on the narrowest phone and in dark colours, judged by axe.

The web service runs in this process, over documents that are written straight into the store.
"""

from __future__ import annotations

from datetime import date
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.api_service import TODAY, ApiService
from tests.support.browsed_pages import open_browsed_service, open_pages
from tests.support.browser import allow_scripts, look_at, open_profile, set_screen, text_of
from tests.support.factories import NOW
from tests.support.household_pages import record_outcome
from tests.support.panel_homes import PanelHome, store_home
from tests.support.waiting import until
from worker.domain.consent.accounts import AccountState
from worker.domain.measures.completeness import DayLedger
from worker.domain.measures.readings import ONE_DAY
from worker.domain.measures.series import Series

YESTERDAY = TODAY - ONE_DAY
FIRST = date(2023, 5, 29)


def add_late_home(service: ApiService) -> str:
    """Add a year of days with a gap, without yesterday, which Enedis has not published yet."""
    account = service.add(31)
    service.store_days(account, FIRST, [5000] * (date(2024, 7, 10) - FIRST).days)
    service.store_days(account, date(2024, 7, 12), [6000] * 12)
    record_outcome(service, account, Series.DAILY, day=YESTERDAY - ONE_DAY)
    ledger = DayLedger.parse("2024-07-10 1l@8 1a 12c 1l@1")
    table = service.runtime.registry.completeness
    assert table.replace_if_unchanged(account, Series.DAILY, table.load_ledger(account, Series.DAILY), ledger)
    return account


def add_in_state(service: ApiService, number: int, state: AccountState, reason: str = "") -> str:
    account = service.add(number)
    service.store_days(account, date(2024, 7, 1), [5000] * 24)
    record_outcome(service, account, Series.DAILY)
    service.runtime.registry.set_state(account, state, reason, now=NOW)
    return account


def test_no_state_of_a_households_page_keeps_anybody_out(
    redis_url: str, tmp_path: Path, browser: webdriver.Chrome
) -> None:
    with open_browsed_service(redis_url, tmp_path) as (service, address), open_profile(browser):
        late, first_day = add_late_home(service), service.add(32)
        feeding = service.add(33)
        store_home(
            service.runtime,
            feeding,
            PanelHome(YESTERDAY, days=200),
            [Series.DAILY, Series.PRODUCTION_DAILY, Series.PRODUCTION_LOAD_CURVE],
        )
        pages = {
            "late-month": f"{late}",
            "late-day": f"{late}?by=day&at={YESTERDAY}",
            "late-week": f"{late}?by=week&compare=year",
            "late-year": f"{late}?by=year&lang=en",
            "beyond": f"{late}?by=day&at=1999-01-01&lang=fr",
            "first-day": first_day,
            "feeding-week": f"{feeding}?by=week",
            "feeding-day": f"{feeding}?by=day",
            "feeding-year": f"{feeding}?by=year",  # Its sums are long.
            "paused": add_in_state(service, 34, AccountState.PAUSED),
            "action": add_in_state(service, 35, AccountState.ACTION_NEEDED, "USER_ACTION_NEEDED.OAUTH_OUTDATED"),
            "closed": add_in_state(service, 36, AccountState.CLOSED),
        }
        open_pages(browser, service, address, *{page.partition("?")[0] for page in pages.values()})
        for name, page in pages.items():
            browser.get(f"{address}/accounts/{page}")
            browser.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
            look_at(browser, f"state-{name}")

        browser.get(f"{address}/accounts/{late}?by=month&at=2024-07-01")
        chart = browser.find_element(By.CSS_SELECTOR, "#chart [data-chart]")
        chart.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT, Keys.ENTER)
        until(lambda: text_of(browser, "#chart-title").lower() == "mardi 2 juillet 2024", "the day of the second bar")

        allow_scripts(browser, False)
        set_screen(browser, 320)
        browser.get(f"{address}/accounts/{late}?by=year&at=2024-07-01")
        for shown in ("juillet 2024", "jeudi 11 juillet 2024"):  # A month of the year, then a day that is missing.
            place = 6 if shown.startswith("juillet") else 10
            bars = browser.find_elements(By.CSS_SELECTOR, "#chart .chart-narrow a")
            bars[place].send_keys(Keys.ENTER)
            until(lambda shown=shown: text_of(browser, "#chart-title").lower() == shown, f"the chart of {shown}")
        assert "Enedis n’a jamais publié" in text_of(browser, "#chart")
        browser.find_element(By.ID, "at").send_keys("03032024")
        browser.find_element(By.CSS_SELECTOR, ".go-to button").click()
        until(lambda: text_of(browser, "#chart-title").lower() == "dimanche 3 mars 2024", "the day of the date field")
        allow_scripts(browser, True)
