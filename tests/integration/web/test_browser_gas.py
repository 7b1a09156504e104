"""A home with electricity and gas in a real browser: joined, one tab each, the sum, and the form of a declaration.

The web service runs in this process, over documents that are written straight into the store; nobody asks GRDF.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.api_service import TODAY
from tests.support.browsed_pages import look_at_all_widths, open_browsed_service, open_pages
from tests.support.browser import click, go, open_profile, text_of, wait_for
from tests.support.gas_homes import CONTRACT, GAS_SETTINGS, OTHER_PCE, PUBLISHED, GasHome, add_gas
from tests.support.panel_homes import PanelHome, store_home
from worker.domain.measures.series import Series

POWER = PanelHome(TODAY - timedelta(days=1), days=120)
GAS = GasHome(TODAY - timedelta(days=2), gaps=(6,), zeros=(9, 10), excess=40)


def test_a_home_of_both_is_joined_by_its_household_and_each_energy_has_its_tab(
    redis_url: str, tmp_path: Path, browser: webdriver.Chrome
) -> None:
    with open_browsed_service(redis_url, tmp_path, **GAS_SETTINGS) as (service, address), open_profile(browser):
        power = service.add()
        store_home(service.runtime, power, POWER, [Series.DAILY, Series.LOAD_CURVE, Series.CONTRACT])
        gas = add_gas(service.runtime, GAS)
        half_yearly = add_gas(service.runtime, GasHome(TODAY, frequency="6M"), OTHER_PCE, only=(PUBLISHED, CONTRACT))
        browser.get(address)
        look_at_all_widths(browser, "gas-home")
        open_pages(browser, service, address, power, gas)

        browser.get(f"{address}/accounts/{power}")
        go(browser, "Regrouper les deux compteurs", "Séparer les deux compteurs")
        assert text_of(browser, ".energies").split() == ["Électricité", "Gaz"]
        look_at_all_widths(browser, "gas-joined")
        go(browser, "Gaz", "Mon gaz")
        drawn = browser.find_elements(By.CSS_SELECTOR, "#chart .chart-wide .serie-1 .column")
        assert len(drawn) == 22  # Zeros are lines, the gap is hatched.
        assert len(browser.find_elements(By.CSS_SELECTOR, "#chart .chart-wide .gap")) == 1
        browser.find_element(By.CSS_SELECTOR, "#chart [data-chart]").send_keys(Keys.ARROW_RIGHT)
        assert "kWh" in text_of(browser, "#chart [data-readout]")
        browser.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        look_at_all_widths(browser, "gas-month")
        browser.get(f"{address}/accounts/{gas}?by=day&at=2024-07-10")
        assert "11,16 kWh/m³" in text_of(browser, "#chart").replace("\N{NO-BREAK SPACE}", " ")
        look_at_all_widths(browser, "gas-day")
        browser.get(f"{address}/accounts/{gas}?by=week&at=2024-07-10")
        assert text_of(browser, "#chart-title").lower() == "semaine du 8 au 14 juillet 2024"
        look_at_all_widths(browser, "gas-week")
        browser.get(f"{address}/accounts/{gas}?by=year&lang=en")
        browser.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        look_at_all_widths(browser, "gas-year")

        go(browser, "Add up electricity and gas", "Electricity and gas together")
        look_at_all_widths(browser, "gas-sum")
        go(browser, "Stop adding up", "Add up electricity and gas")
        go(browser, "Download my data", "CSV")
        look_at_all_widths(browser, "gas-download")

        open_pages(browser, service, address, half_yearly)
        browser.get(f"{address}/accounts/{half_yearly}?lang=fr")
        wait_for(browser, "tous les six mois")
        look_at_all_widths(browser, "gas-half-yearly")


def test_the_form_of_a_declaration_tells_each_fault_at_its_field(
    redis_url: str, tmp_path: Path, browser: webdriver.Chrome
) -> None:
    with open_browsed_service(redis_url, tmp_path, **GAS_SETTINGS) as (service, address), open_profile(browser):
        power = service.add()
        store_home(service.runtime, power, POWER, [Series.DAILY])
        open_pages(browser, service, address, power)
        browser.get(f"{address}/accounts/{power}")
        go(browser, "Ajouter le gaz", "Titulaire du contrat de gaz")
        look_at_all_widths(browser, "right-form")
        browser.find_element(By.ID, "pce").send_keys("1234")
        browser.find_element(By.ID, "name").send_keys("Martin")
        click(browser, "Envoyer la demande à GRDF")
        wait_for(browser, "4 champs sont à corriger")
        assert browser.find_element(By.ID, "name").get_attribute("value") == "Martin"
        look_at_all_widths(browser, "right-faults")
        fields = {"pce": "21546000000123", "postcode": "44000", "email": "person@example.org"}
        for name, text in fields.items():
            field = browser.find_element(By.ID, name)
            field.clear()
            field.send_keys(text)
        browser.find_element(By.NAME, "consent").click()
        go(browser, "Envoyer la demande à GRDF", "Un instant")
        look_at_all_widths(browser, "right-working")
