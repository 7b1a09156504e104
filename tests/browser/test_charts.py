"""What a browser draws and reads of charts, and forms with files and faults: by keyboard, and looked at by axe."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.api_service import TODAY
from tests.support.browsed_pages import Site, open_site
from tests.support.browser import click, go, look_at, open_profile, text_of, wait_for
from tests.support.connect_service import ConnectServers
from tests.support.gas_homes import GAS_SETTINGS, GasHome, add_gas
from tests.support.made_files import hour_export
from tests.support.panel_homes import PanelHome, store_home

HOME = PanelHome(TODAY - timedelta(days=1), days=60, fed_days_late=5)
GAS = GasHome(TODAY - timedelta(days=2), days=60, gaps=(6,), zeros=(9, 10))


def readout(browser: webdriver.Chrome, chart: str) -> str:
    """Return what the chart says of its first bar, which an arrow key reaches."""
    browser.find_element(By.CSS_SELECTOR, f"{chart} [data-chart]").send_keys(Keys.ARROW_RIGHT)
    return text_of(browser, f"{chart} [data-readout]")


def test_bars_of_both_directions_of_power_and_of_gas_are_drawn_and_read_by_keyboard(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    with open_site(servers, tmp_path, **GAS_SETTINGS) as site, open_profile(browser):
        account, gas = site.api.add(), add_gas(site.parts, GAS)
        store_home(site.parts, account, HOME)
        site.sign_in(browser, account, gas)
        browser.get(f"{site.address}/accounts/{account}")
        drawn = browser.find_elements(By.CSS_SELECTOR, "#chart .chart-wide .serie-1 .column")
        fed = browser.find_elements(By.CSS_SELECTOR, "#chart .chart-wide .serie-fed .column")
        assert len(drawn) == 24 and len(fed) == 24 - HOME.fed_days_late
        assert drawn[0].rect["y"] < fed[0].rect["y"]
        assert drawn[0].value_of_css_property("fill") != fed[0].value_of_css_property("fill")
        assert "Injecté 8" in readout(browser, "#chart")
        go(browser, "Puissance", "Puissance maximale")
        assert " kVA" in readout(browser, "#power")

        browser.get(f"{site.address}/accounts/{gas}")
        drawn = browser.find_elements(By.CSS_SELECTOR, "#chart .chart-wide .serie-1 .column")
        assert len(drawn) == 20  # Zeros have no bar, the gap is hatched.
        assert len(browser.find_elements(By.CSS_SELECTOR, "#chart .chart-wide .gap")) == 1
        assert "kWh" in readout(browser, "#chart")


def test_files_are_looked_at_and_imported(site: Site, browser: webdriver.Chrome, tmp_path: Path) -> None:
    files = [tmp_path / "Enedis_Conso_Heure_30001640000011.csv", tmp_path / "poeme.csv"]
    for path, text in zip(files, (hour_export(), "Sous le pont Mirabeau\ncoule la Seine\n"), strict=True):
        path.write_text(text, encoding="utf-8")
    account = site.api.add()
    with open_profile(browser):
        site.sign_in(browser, account)
        browser.get(f"{site.address}/accounts/{account}/import")
        for button, result in (
            ("Vérifier sans importer", "Rien n’a été enregistré"),
            ("Importer", "Fichiers importés"),
        ):
            browser.find_element(By.ID, "files").send_keys("\n".join(map(str, files)))
            go(browser, button, result)
            look_at(browser, f"import-{button.split()[0].lower()}")
        assert "…0011.csv" in text_of(browser, "main") and "30001640000011" not in browser.page_source
        browser.get(f"{site.address}/accounts/{account}?by=day&at=2024-07-01")
        assert "grâce à un fichier importé" in text_of(browser, "#chart")
        look_at(browser, "import-day")


def test_the_form_of_a_declaration_keeps_what_is_right_and_tells_each_fault(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    with open_site(servers, tmp_path, **GAS_SETTINGS) as site, open_profile(browser):
        account = site.api.add()
        site.sign_in(browser, account)
        browser.get(f"{site.address}/accounts/{account}/gas")
        browser.find_element(By.ID, "pce").send_keys("1234")
        browser.find_element(By.ID, "name").send_keys("Martin")
        click(browser, "Envoyer la demande")
        wait_for(browser, "4 champs sont à corriger")
        assert browser.find_element(By.ID, "name").get_attribute("value") == "Martin"
        look_at(browser, "right-faults")
        fields = {"pce": "21546000000123", "postcode": "44000", "email": "person@example.org"}
        for name, text in fields.items():
            field = browser.find_element(By.ID, name)
            field.clear()
            field.send_keys(text)
        browser.find_element(By.NAME, "consent").click()
        go(browser, "Envoyer la demande", "doit être confirmée")
        look_at(browser, "right-held")


def test_prices_are_typed_and_a_day_a_month_and_a_year_are_looked_at_in_euros(
    site: Site, browser: webdriver.Chrome
) -> None:
    account = site.api.add(12)
    store_home(site.parts, account, replace(HOME, curve_days=40))
    with open_profile(browser):
        site.sign_in(browser, account)
        browser.get(f"{site.address}/accounts/{account}")
        go(browser, "Indiquez un prix", "Relève ne suppose aucun prix")
        own = browser.find_element(By.ID, "own")
        own.send_keys("[[electricity]]\nfrom = 2024-07-05\nsubscription = 15.65\nhp = 0,2065\nhc = 0.1579\n")
        own.submit()
        wait_for(browser, "write 0.2065")
        look_at(browser, "prices-fault")
        own = browser.find_element(By.ID, "own")
        text = own.get_attribute("value").replace("0,2065", "0.2065")
        own.clear()
        own.send_keys(f"{text}[[production]]\nfrom = 2024-01-01\nprice = 0.1269\n")
        own.submit()
        wait_for(browser, "C’est enregistré")
        look_at(browser, "prices")
        go(browser, "Voir ma consommation en euros", "Détail du coût")
        for by in ("Jour", "Mois", "Année"):
            go(browser, by, "Détail du coût")
            first = {"Jour": "€", "Mois": "pas de prix", "Année": "pas de coût"}[by]
            assert first in readout(browser, "#chart")
            look_at(browser, f"euros-{by[:2].lower()}")
        go(browser, "Jour", "Heures creuses")
        bands = browser.find_elements(By.CSS_SELECTOR, "#chart .chart-wide .off-peak")
        bars = browser.find_elements(By.CSS_SELECTOR, "#chart .chart-wide .serie-1 .column")
        assert len(bars) == 24 and len(bands) >= 2
        assert bands[0].value_of_css_property("fill") != bars[0].value_of_css_property("fill")
