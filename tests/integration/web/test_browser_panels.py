"""The page of a home with panels in a real browser: one chart for both directions, the cards below, and the
import of files, judged by axe.

The web service runs in this process, over documents that are written straight into the store.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.api_service import TODAY
from tests.support.browsed_pages import look_at_all_widths, open_browsed_service, open_pages
from tests.support.browser import go, look_at, open_profile, text_of
from tests.support.made_files import hour_export
from tests.support.panel_homes import TEMPO, PanelHome, store_home
from worker.domain.measures.series import Series, SeriesSwitch

HOME = PanelHome(TODAY - timedelta(days=1), days=120, fed_days_late=5, periods=TEMPO)


def test_a_home_with_panels_reads_both_directions_powers_and_registers(
    redis_url: str, tmp_path: Path, browser: webdriver.Chrome
) -> None:
    with open_browsed_service(redis_url, tmp_path) as (service, address), open_profile(browser):
        account = service.add()
        store_home(service.runtime, account, HOME)
        open_pages(browser, service, address, account)

        browser.get(f"{address}/accounts/{account}")
        fed = browser.find_elements(By.CSS_SELECTOR, "#chart .chart-wide .serie-fed .column")
        drawn = browser.find_elements(By.CSS_SELECTOR, "#chart .chart-wide .serie-1 .column")
        assert len(drawn) == 24 and len(fed) == 24 - HOME.fed_days_late
        assert drawn[0].rect["y"] < fed[0].rect["y"]
        assert drawn[0].value_of_css_property("fill") != fed[0].value_of_css_property("fill")

        for chart, words in (("#chart", "Injecté 8"), ("#power", " kVA")):
            browser.find_element(By.CSS_SELECTOR, f"{chart} [data-chart]").send_keys(Keys.ARROW_RIGHT)
            readout = text_of(browser, f"{chart} [data-readout]")
            assert " · " in readout and words in readout, readout

        browser.execute_script("document.querySelectorAll('details').forEach((part) => { part.open = true; })")
        assert "BUHC" in text_of(browser, "#registers-consumption")
        assert "6 kVA" in text_of(browser, "#contract").replace("\N{NO-BREAK SPACE}", " ")
        look_at(browser, "panels-month")
        browser.get(f"{address}/accounts/{account}?by=day&at=2024-07-18")
        look_at(browser, "panels-day")
        browser.get(f"{address}/accounts/{account}?by=year&lang=en")
        assert "Fed into the grid" in text_of(browser, "#chart")
        look_at(browser, "panels-year")
        go(browser, "Download my data", "CSV")
        look_at(browser, "panels-download")

        browser.get(f"{address}/accounts/{account}")
        go(browser, "Choose which data to collect", "Always ticked")
        look_at(browser, "panels-series")
        browser.find_element(By.CSS_SELECTOR, f"[value={Series.PRODUCTION_LOAD_CURVE}][type=checkbox]").click()
        go(browser, "Save my choices", "Your choices are saved")
        look_at(browser, "panels-series-saved")
        chosen = service.runtime.registry.outcomes.list_chosen(account)
        switched = {one.series: one.switch for one in chosen if one.switch is not SeriesSwitch.FLEET}
        assert switched == {Series.PRODUCTION_LOAD_CURVE: SeriesSwitch.OFF}

        browser.get(f"{address}/accounts/{account}/import?lang=fr")
        look_at_all_widths(browser, "import")
        files = [tmp_path / "Enedis_Conso_Heure_30001640000011.csv", tmp_path / "poeme.csv"]
        for path, text in zip(files, (hour_export(), "Sous le pont Mirabeau\ncoule la Seine\n"), strict=True):
            path.write_text(text, encoding="utf-8")
        for button, result in (
            ("Vérifier sans importer", "Rien n’a été enregistré"),
            ("Importer", "Fichiers importés"),
        ):
            browser.find_element(By.ID, "files").send_keys("\n".join(map(str, files)))
            go(browser, button, result)
            look_at_all_widths(browser, f"import-{button.split()[0].lower()}")
        assert "…0011.csv" in text_of(browser, "main") and "30001640000011" not in browser.page_source
        browser.get(f"{address}/accounts/{account}?by=day&at=2024-07-01")
        assert "grâce à un fichier importé" in text_of(browser, "#chart")
        look_at(browser, "import-day")
