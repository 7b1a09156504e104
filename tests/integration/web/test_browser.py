"""Pages in a real browser: connect, watch the progress, open each chart, download, remove; the operator's login."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.browser import (
    allow_scripts,
    check_page,
    click,
    go,
    look_at,
    open_profile,
    set_screen,
    text_of,
    wait_for,
)
from tests.support.operators import add_operator
from tests.support.system import System, open_system, until
from worker.stores.redis.child_processes import free_port

_LONGEST_S = 60.0
_FETCHES_A_SECOND = "3"  # Slow enough that the progress bar can be seen moving.
_METERS = map(str, itertools.count(30001640000011, 11))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    settings = {
        "PUBLIC_URL": f"http://127.0.0.1:{free_port()}",
        "CALLS_PER_SECOND": _FETCHES_A_SECOND,
        "CALLS_PER_HOUR": "0",
        "PRETEND_HOMES": "true",  # The simulator is told whose meter it is.
    }
    with open_system(tmp_path_factory.mktemp("house"), **settings) as built:
        built.start_simulator("--consent-page")
        built.start_web()
        built.start_worker()
        yield built


def connect(browser: webdriver.Chrome, house: System) -> str:
    """Open an invitation, and go over the supplier's page to the account's own page. Return the account's id."""
    browser.get(house.query("invite", "--usage-point", next(_METERS))["link"])
    field = browser.find_element(By.NAME, "invitation")
    if field.is_displayed():  # Without scripts the person pastes the link.
        field.send_keys(browser.current_url)
    click(browser, "Continuer")
    wait_for(browser, "compteur réel")
    click(browser, "Accepter")
    wait = WebDriverWait(browser, _LONGEST_S)
    wait.until(lambda driver: re.search(r"/accounts/[a-z0-9]+$", driver.current_url))
    return urlsplit(browser.current_url).path.rpartition("/")[2]


def progress(browser: webdriver.Chrome) -> int | None:
    """Return the days done of the daily history, as the page shows them; None once it has no bar any more."""
    try:
        bars = browser.find_elements(By.ID, "part-daily")
        return int(float(bars[0].get_attribute("value") or 0)) if bars else None
    except WebDriverException:  # The page was just loaded again; Chrome has several words for that.
        return -1


def test_a_household_connects_watches_reads_and_removes(house: System, browser: webdriver.Chrome) -> None:
    with open_profile(browser):
        house.simulator("POST", "faults", {"path": "mesure_synchrone_auto", "count": None, "status": 503})
        account_id = connect(browser, house)
        until(lambda: progress(browser) == 0, "an empty progress bar")
        house.simulator("DELETE", "faults")
        readings = []
        until(lambda: readings.append(progress(browser)) or readings[-1] is None, "the end of the progress bar")
        counts = [count for count in readings if count is not None and count >= 0]
        assert len(set(counts)) >= 2 and counts == sorted(counts), "the bar moved, and never back"
        look_at(browser, "account")

        for name in ("Jour", "Année", "Mois"):
            click(browser, name)
            until(lambda name=name: text_of(browser, ".tabs [aria-current]") == name, f"the chart of {name}")
            if name == "Jour" and not browser.find_elements(By.CSS_SELECTOR, ".chart-wide .serie-1 .column"):
                # The clock is the real one: from midnight to 08:00 the supplier has not published yesterday yet.
                browser.find_element(By.CSS_SELECTOR, "a.step[rel=prev]").click()
                until(lambda: browser.find_elements(By.CSS_SELECTOR, ".chart-wide .serie-1 .column"), "the day before")
            bars = browser.find_elements(By.CSS_SELECTOR, ".chart-wide .serie-1 .column")
            assert bars and all(bar.is_displayed() for bar in bars)
            check_page(browser)

        chart = browser.find_element(By.CSS_SELECTOR, "[data-chart]")
        chart.send_keys(Keys.ARROW_RIGHT)
        first_row = browser.find_elements(By.CSS_SELECTOR, "table[data-slots] tbody th")[0].get_attribute("textContent")
        assert first_row and first_row in browser.find_element(By.CSS_SELECTOR, "[data-readout]").text
        click(browser, "Voir les chiffres")
        assert browser.find_element(By.CSS_SELECTOR, "table[data-slots]").is_displayed()

        go(browser, "Télécharger mes données", "Une partie seulement")
        check_page(browser)
        go(browser, "Ma consommation", "Supprimer mon compte")
        go(browser, "Supprimer mon compte", "Supprimer définitivement")
        go(browser, "Supprimer définitivement", "Reçu")
        look_at(browser, "removed", width=390)
        browser.get(f"{house.settings['PUBLIC_URL']}/accounts/{account_id}")
        assert "Compte introuvable" in text_of(browser, "main")


def test_all_is_there_on_a_telephone_without_scripts(house: System, browser: webdriver.Chrome) -> None:
    with open_profile(browser):
        set_screen(browser, 390, dark=True)
        allow_scripts(browser, False)
        account_id = connect(browser, house)
        house.wait_loaded(account_id)
        browser.get(f"{house.settings['PUBLIC_URL']}/accounts/{account_id}?by=year")
        assert browser.find_element(By.CSS_SELECTOR, ".chart-narrow .serie-1 .column").is_displayed()
        assert not browser.find_element(By.CSS_SELECTOR, ".chart-wide").is_displayed()
        click(browser, "Voir les chiffres")
        assert len(browser.find_elements(By.CSS_SELECTOR, "table[data-slots] tbody tr")) == 12


def test_a_household_stops_its_readings_on_a_telephone_and_keeps_them(house: System, browser: webdriver.Chrome) -> None:
    with open_profile(browser, width=390):
        account_id = connect(browser, house)
        house.wait_loaded(account_id)
        browser.get(f"{house.settings['PUBLIC_URL']}/accounts/{account_id}")
        go(browser, "Arrêter les relevés", "Continuer les relevés")
        assert "espace client Enedis" in text_of(browser, "main")
        check_page(browser)
        go(browser, "Arrêter les relevés", "Vous avez arrêté les relevés")
        look_at(browser, "stopped", width=390)
        assert browser.find_element(By.CSS_SELECTOR, ".chart-narrow .serie-1 .column").is_displayed()
        assert "Consentement valable jusqu’au" not in text_of(browser, "main")


def test_the_operator_logs_in_and_sees_the_fleet(house: System, browser: webdriver.Chrome) -> None:
    with open_profile(browser):
        operator = add_operator(house.runtime)
        browser.get(f"{house.settings['PUBLIC_URL']}/operator")
        browser.find_element(By.NAME, "name").send_keys(operator.name)
        browser.find_element(By.NAME, "password").send_keys(operator.password, Keys.ENTER)
        WebDriverWait(browser, _LONGEST_S).until(lambda driver: "État du parc" in driver.title)
        assert "mesure_synchrone_auto" in text_of(browser, "main")
        look_at(browser, "fleet")
