"""The pages of a home in a real browser, on a phone's width too: from an empty home to a meter's own pages."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.support.api_service import TODAY
from tests.support.browsed_pages import open_browsed_service
from tests.support.browser import click, look_at, open_profile, wait_for
from tests.support.household_pages import record_outcome
from tests.support.own_home import SETTINGS, gateway_token
from worker.domain.measures.series import USUAL_SERIES
from worker.web import context

NARROWEST = 320
PATHS = ("", "/download", "/series", "/stop", "/remove")


def test_a_household_gives_its_token_and_sees_every_page(
    redis_url: str, tmp_path: Path, browser: webdriver.Chrome, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "enqueue_backfill", lambda account_id, broker_url: None)
    with (
        open_browsed_service(redis_url, tmp_path, **SETTINGS) as (service, address),
        open_profile(browser, width=NARROWEST),
    ):
        service.app.state.local_session.is_open = True  # Tests may run in a container.
        browser.get(address)
        wait_for(browser, "Ajouter votre jeton")
        look_at(browser, "home-empty")
        browser.find_element(By.ID, "gateway-token").send_keys("this is not a token")
        click(browser, "Enregistrer le jeton")
        wait_for(browser, "Ce jeton n’est pas valable")
        look_at(browser, "home-bad-token")
        browser.find_element(By.ID, "gateway-token").send_keys(gateway_token())
        click(browser, "Enregistrer le jeton")
        wait_for(browser, "…0077")
        (account,) = service.runtime.registry.list()
        service.store_days(account.id, TODAY - timedelta(days=60), [5000 + 10 * rank for rank in range(60)])
        for series in USUAL_SERIES:
            record_outcome(service, account.id, series)
        for path in PATHS:
            browser.get(f"{address}/accounts/{account.id}{path}")
            wait_for(browser, "Relève")
            look_at(browser, f"home-account{path.replace('/', '-')}")
        browser.get(f"{address}/access/sessions")
        wait_for(browser, "Appareils connectés")
        look_at(browser, "home-sessions")
        browser.get(address)
        click(browser, "Créer un mot de passe")
        wait_for(browser, "Notez-le maintenant")
        look_at(browser, "home-password")
        password = browser.find_element(By.CSS_SELECTOR, ".recovery-code code").text

        service.app.state.local_session.is_open = False  # As in a container.
        browser.get(address)
        wait_for(browser, "Mot de passe")
        look_at(browser, "home-sign-in")
        browser.find_element(By.ID, "code").send_keys(password)
        click(browser, "Voir mes données")
        wait_for(browser, "Mes compteurs")
        look_at(browser, "home-first-page")
