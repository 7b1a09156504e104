"""A household's ways back to its pages, by keyboard, and the first steps of an own home.

Each page is looked at, also by axe.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.api_service import TODAY
from tests.support.browsed_pages import Site, open_site
from tests.support.browser import (
    PHONE,
    allow_scripts,
    check_page,
    click,
    go,
    look_at,
    open_profile,
    press,
    text_of,
    wait_for,
)
from tests.support.connect_service import ConnectServers
from tests.support.household_pages import record_outcome
from tests.support.mail_server import MailReceiver, mail_receiver, mail_url
from tests.support.own_home import SETTINGS, gateway_token
from tests.support.waiting import until
from tests.support.ways_back import CODE, links_of
from worker.domain.series import USUAL_SERIES

HOME = "anne.home@example.org"
KEPT, SESSIONS = "Je l’ai noté", "Appareils connectés"


@pytest.fixture
def mails() -> Iterator[MailReceiver]:
    with mail_receiver() as receiver:
        yield receiver


@pytest.fixture
def site(servers: ConnectServers, tmp_path: Path, mails: MailReceiver) -> Iterator[Site]:
    with open_site(servers, tmp_path, notify_url=mail_url(mails, to="operator@example.org")) as site:
        yield site


def shown_code(browser: webdriver.Chrome) -> str:
    match = CODE.fullmatch(text_of(browser, ".recovery-code"))
    assert match, text_of(browser, "main")
    return match[0]


def enter_code(site: Site, browser: webdriver.Chrome, code: str, awaited: str) -> None:
    browser.get(f"{site.address}/sign-in")
    browser.find_element(By.NAME, "code").send_keys(code, Keys.ENTER)
    wait_for(browser, awaited)


def test_a_household_comes_back_by_code_and_by_mail_signs_a_lost_phone_out_and_erases(
    site: Site, browser: webdriver.Chrome, mails: MailReceiver
) -> None:
    account = site.api.add()
    page = f"{site.address}/accounts/{account}"
    with open_profile(browser, width=PHONE):
        site.sign_in(browser, account)
        browser.get(page)
        press(browser, "Mon accès", KEPT)
        code = shown_code(browser)
        press(browser, KEPT, "Vous avez un code")
        browser.find_element(By.NAME, "address").send_keys(HOME)
        press(browser, "Envoyer l’e-mail de confirmation", HOME)
        look_at(browser, "access-pending")
        browser.get(f"{site.address}/access/confirm#{links_of(mails)[0]}")
        wait_for(browser, "Le lien a bien été reconnu")
        assert "address_link" not in browser.current_url
        press(browser, "Confirmer", "Adresse confirmée")
        look_at(browser, "access-confirmed")
        phone = browser.current_window_handle

        with open_profile(browser):
            enter_code(site, browser, code.lower(), KEPT)
            next_code = shown_code(browser)
            assert next_code != code
            press(browser, KEPT, "Vous avez un code")
            browser.get(page)
            assert text_of(browser, ".sections")

        with open_profile(browser):
            come_back_by_mail(site, browser, mails)
            until(lambda: browser.current_url == page, "the account's page")
            new = browser.current_window_handle
            browser.switch_to.window(phone)
            browser.get(page)
            assert text_of(browser, ".sections"), "the lost phone is still signed in"
            browser.switch_to.window(new)
            browser.get(f"{site.address}/access/sessions")
            press(browser, "Déconnecter tous les autres", SESSIONS)
            until(lambda: "Déconnecter tous les autres" not in text_of(browser, "main"), "the end of the others")
            browser.switch_to.window(phone)
            browser.get(page)
            assert browser.find_elements(By.CSS_SELECTOR, "a[href='/sign-in']") and not text_of(browser, ".sections")
            check_page(browser)
            browser.switch_to.window(new)
            browser.get(f"{page}/connection")
            press(browser, "Supprimer mon compte", "Supprimer définitivement")
            press(browser, "Supprimer définitivement", "Reçu")
            look_at(browser, "removed")
            enter_code(site, browser, next_code, "Ce code n’est pas valable")
            look_at(browser, "sign-in-wrong")


def come_back_by_mail(site: Site, browser: webdriver.Chrome, mails: MailReceiver) -> None:
    """Sign in by mail in a browser without scripts, where the person pastes the link."""
    allow_scripts(browser, False)
    count = len(mails.messages)
    browser.get(f"{site.address}/sign-in")
    browser.find_element(By.NAME, "address").send_keys(HOME, Keys.ENTER)
    wait_for(browser, "Consultez votre messagerie")
    until(lambda: len(mails.messages) > count, "the mail")
    browser.get(f"{site.address}/sign-in/link")
    browser.find_element(By.NAME, "link").send_keys(f"{site.address}/sign-in/link#{links_of(mails)[0]}")
    click(browser, "Voir mes données")
    until(lambda: "/accounts/" in browser.current_url, "the account's page")
    allow_scripts(browser, True)


def test_a_household_stops_its_readings_and_keeps_them(site: Site, browser: webdriver.Chrome) -> None:
    account = site.api.add()
    site.api.store_days(account, TODAY - timedelta(days=30), [5000] * 30)
    record_outcome(site.api, account, USUAL_SERIES[0])
    with open_profile(browser, width=PHONE):
        site.sign_in(browser, account)
        browser.get(f"{site.address}/accounts/{account}/stop")
        go(browser, "Arrêter les relevés", "Vous avez arrêté les relevés")
        look_at(browser, "stopped")
        go(browser, "Consommation", "juillet 2024")
        assert browser.find_element(By.CSS_SELECTOR, ".chart-narrow .serie-1 .column").is_displayed()


def test_an_own_home_begins_with_its_token_and_is_opened_elsewhere_by_its_password(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    with open_site(servers, tmp_path, **SETTINGS) as site, open_profile(browser, width=PHONE):
        here = site.service.app.state.local_session
        here.is_open = True  # Tests may run in a container.
        browser.get(site.address)
        look_at(browser, "home-empty")
        browser.find_element(By.ID, "gateway-token").send_keys("this is not a token")
        go(browser, "Enregistrer le jeton", "Ce jeton n’est pas valable")
        look_at(browser, "home-bad-token")
        browser.find_element(By.ID, "gateway-token").send_keys(gateway_token())
        go(browser, "Enregistrer le jeton", "…0077")
        (account,) = site.service.accounts()
        site.api.store_days(account.id, TODAY - timedelta(days=60), [5000 + 10 * rank for rank in range(60)])
        for series in USUAL_SERIES:
            record_outcome(site.api, account.id, series)
        for path in ("", "/connection", "/download", "/series", "/stop", "/remove"):
            browser.get(f"{site.address}/accounts/{account.id}{path}")
            look_at(browser, f"home-account{path.replace('/', '-')}")
        browser.get(f"{site.address}/access/sessions")
        look_at(browser, "home-sessions")
        browser.get(site.address)
        click(browser, "Accès depuis d’autres appareils")
        go(browser, "Créer un mot de passe", "Notez-le maintenant")
        look_at(browser, "home-password")
        password = text_of(browser, ".recovery-code code")

        here.is_open = False  # As in a container.
        browser.get(site.address)
        look_at(browser, "home-sign-in")
        browser.find_element(By.ID, "code").send_keys(password)
        go(browser, "Voir mes données", "Mes compteurs")
        look_at(browser, "home-first-page")
