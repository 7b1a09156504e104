"""What only a browser can show: our scripts under the content policy, pages without scripts, cookies of two persons."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.api_service import TODAY
from tests.support.browsed_pages import SUPPLIER, Site, agree, open_site, wait_for_account
from tests.support.browser import (
    PHONE,
    allow_scripts,
    check_page,
    click,
    go,
    open_profile,
    set_screen,
    text_of,
    wait_for,
)
from tests.support.connect_service import METER, OTHER, ConnectServers
from tests.support.household_pages import record_outcome
from tests.support.waiting import until
from worker.domain.series import Series
from worker.runtime.sync_parts import build_inline

THIRD = "30001640000033"


@pytest.fixture(scope="module")
def site(servers: ConnectServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with open_site(servers, tmp_path_factory.mktemp("walks")) as site:
        yield site


def progress(browser: webdriver.Chrome) -> int | None:
    """Return the days done of the daily history, as the page shows them; None once it has no bar any more."""
    try:
        bars = browser.find_elements(By.ID, "part-daily")
        return int(float(bars[0].get_attribute("value") or 0)) if bars else None
    except WebDriverException:  # The page was just loaded again; Chrome has several words for that.
        return -1


def is_shown(browser: webdriver.Chrome, selector: str) -> bool:
    return browser.find_element(By.CSS_SELECTOR, selector).is_displayed()


@pytest.mark.change
def test_a_household_connects_watches_its_data_come_reads_and_removes(site: Site, browser: webdriver.Chrome) -> None:
    with open_profile(browser):
        browser.get(site.invite(METER))
        assert browser.current_url == f"{site.address}/invitation", "the address keeps no secret"
        assert is_shown(browser, "[data-read]") and not is_shown(browser, "[name=invitation]")
        check_page(browser)
        click(browser, "Continuer")
        agree(browser)
        wait_for(browser, "Un instant")
        site.work()
        account = wait_for_account(browser)
        windows = build_inline(site.parts.stores, site.parts.sync, print_line=print).run_history(account)
        until(lambda: progress(browser) == 0, "an empty bar")
        next(windows)
        half = until(lambda: max(progress(browser) or 0, 0), "a bar that moves, on a page that has loaded itself again")
        next(windows)
        until(lambda: (progress(browser) or 0) > half, "a bar that moves on")
        assert list(windows)
        until(lambda: progress(browser) is None, "the end of the bar")
        check_page(browser)

        chart = browser.find_element(By.CSS_SELECTOR, "#chart [data-chart]")
        chart.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
        second = browser.find_elements(By.CSS_SELECTOR, "table[data-slots] tbody th")[1].get_attribute("textContent")
        assert second and second in text_of(browser, "[data-readout]")
        chart.send_keys(Keys.ENTER)
        until(lambda: text_of(browser, "#chart-title").lower() == "mardi 2 juillet 2024", "the day of the second bar")
        click(browser, "Voir les chiffres")
        assert is_shown(browser, "table[data-slots]")
        for name in ("Année", "Mois"):
            click(browser, name)
            until(lambda name=name: text_of(browser, ".tabs [aria-current]") == name, f"the chart of {name}")
            bars = browser.find_elements(By.CSS_SELECTOR, ".chart-wide .serie-1 .column")
            assert bars and all(bar.is_displayed() for bar in bars)
        check_page(browser)

        go(browser, "Connexion et données", "Mes données")
        check_page(browser)
        set_screen(browser, PHONE)
        browser.refresh()
        current = browser.find_element(By.CSS_SELECTOR, ".sections [aria-current]")
        assert current.rect["x"] >= 0 and current.rect["x"] + current.rect["width"] <= PHONE
        go(browser, "Supprimer mon compte", "Supprimer définitivement")
        go(browser, "Supprimer définitivement", "Reçu")
        check_page(browser)
        browser.get(f"{site.address}/accounts/{account}")
        assert "Compte introuvable" in text_of(browser, "main")


def test_all_is_there_on_a_phone_without_scripts(site: Site, browser: webdriver.Chrome) -> None:
    with open_profile(browser, width=PHONE):
        allow_scripts(browser, False)
        browser.get(f"{site.address}/invitation")
        assert is_shown(browser, "[name=invitation]") and not is_shown(browser, "[data-read]")
        browser.find_element(By.NAME, "invitation").send_keys(site.invite(OTHER))
        click(browser, "Continuer")
        agree(browser)
        wait_for(browser, "Un instant")
        site.work()
        account = wait_for_account(browser)
        site.api.store_days(account, date(2023, 7, 1), [5000] * (TODAY - date(2023, 7, 1)).days)
        record_outcome(site.api, account, Series.DAILY)
        browser.get(f"{site.address}/accounts/{account}?by=year")
        check_page(browser)
        assert is_shown(browser, ".chart-narrow .serie-1 .column") and not is_shown(browser, ".chart-wide")
        click(browser, "Voir les chiffres")
        assert len(browser.find_elements(By.CSS_SELECTOR, "table[data-slots] tbody tr")) == 12
        browser.find_elements(By.CSS_SELECTOR, "#chart .chart-narrow a")[6].send_keys(Keys.ENTER)
        until(lambda: text_of(browser, "#chart-title").lower() == "juillet 2024", "the month of the seventh bar")
        browser.find_element(By.CSS_SELECTOR, ".go-to summary").send_keys(Keys.ENTER)
        browser.find_element(By.ID, "at").send_keys("03032024")
        browser.find_element(By.CSS_SELECTOR, ".go-to button").click()
        until(lambda: text_of(browser, "#chart-title").lower() == "mars 2024", "the month of the date field")


def test_an_invitation_stays_in_the_browser_that_went_on_with_it(site: Site, browser: webdriver.Chrome) -> None:
    with open_profile(browser, language="en") as person:
        first, link = browser.current_window_handle, site.invite(THIRD)
        browser.get(link)
        go(browser, "Continue", SUPPLIER)
        with open_profile(browser, language="en", width=PHONE):
            browser.get(link)
            go(browser, "Continue", "This invitation is no longer valid")
            check_page(browser)
        person.open_tab(browser)
        browser.get(link)
        click(browser, "Continue")
        agree(browser)
        wait_for(browser, "One moment")
        site.work()
        account = wait_for_account(browser)
        browser.switch_to.window(first)
        go(browser, "Accepter", "One moment")
        site.work()
        assert wait_for_account(browser) == account
