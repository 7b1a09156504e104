"""A household's year in a real browser, by keyboard: it keeps its code, loses its phone, comes back by code and by
mail, signs the lost phone out, and erases.

Each page is judged by axe, on a narrow phone and on a small desktop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
from selenium import webdriver
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.integration.web.test_browser_consents import V5, Site, agree, open_site, wait_for_account
from tests.support.axe import find_barriers
from tests.support.browser import (
    allow_scripts,
    check_page,
    click,
    look_at,
    open_profile,
    set_screen,
    text_of,
    wait_for,
)
from tests.support.connect_service import ConnectServers
from tests.support.mail_server import MailReceiver, mail_receiver, mail_url
from tests.support.waiting import until
from tests.support.ways_back import CODE, links_of

NARROW, SMALL_DESKTOP = 320, 1000
HOME: Final = "anne.home@example.org"


@dataclass
class Words:
    """What pages and buttons say, in one language."""

    go_on: str
    waits: str
    way_back: str
    kept: str
    have_code: str
    confirm_mail: str
    confirm: str
    confirmed: str
    sign_in: str
    open: str
    send: str
    sent: str
    read: str
    remove: str
    remove_yes: str
    receipt: str
    over: str
    devices: str
    end_others: str


FRENCH: Final = Words(
    "Continuer",
    "Vous n’avez pas encore noté votre code de secours",
    "Mon accès",
    "Je l’ai noté",
    "Vous avez un code",
    "Envoyer l’e-mail de confirmation",
    "Confirmer",
    "Adresse confirmée",
    "J’ai déjà relié mon compteur",
    "Voir mes données",
    "M’envoyer un lien",
    "Consultez votre messagerie",
    "Le lien a bien été reconnu",
    "Supprimer mon compte",
    "Supprimer définitivement",
    "Reçu",
    "Ce code n’est pas valable",
    "Appareils connectés",
    "Déconnecter tous les autres",
)
ENGLISH: Final = Words(
    "Continue",
    "You have not saved your recovery code yet",
    "My access",
    "I have saved it",
    "You have a code",
    "Send the confirmation email",
    "Confirm",
    "Address confirmed",
    "I have already connected my meter",
    "Show my data",
    "Send me a link",
    "Check your email",
    "The link has been recognised",
    "Delete my account",
    "Delete permanently",
    "Receipt",
    "This code is not valid",
    "Signed-in devices",
    "Sign out all others",
)
WORDS: Final = {"fr": FRENCH, "en": ENGLISH}


@pytest.fixture
def mails() -> Iterator[MailReceiver]:
    with mail_receiver() as receiver:
        yield receiver


def judge(browser: webdriver.Chrome, name: str, width: int) -> None:
    """Check the page at both widths, also by axe, and leave the window as wide as it was."""
    for of_look in (NARROW, SMALL_DESKTOP):
        set_screen(browser, of_look)
        check_page(browser)
        assert find_barriers(browser) == [], f"{name} at {of_look} px"
    look_at(browser, name, width=width)


def press(browser: webdriver.Chrome, text: str, awaited: str) -> None:
    """Go by the Tab key to the link, button or field's button with this text, press Enter, and wait for the page."""
    browser.execute_script("document.activeElement && document.activeElement.blur()")
    for _ in range(60):
        ActionChains(browser).send_keys(Keys.TAB).perform()
        if text in browser.switch_to.active_element.text:
            ActionChains(browser).send_keys(Keys.ENTER).perform()
            wait_for(browser, awaited)
            return
    raise AssertionError(f"the Tab key reaches no {text}")


def shown_code(browser: webdriver.Chrome) -> str:
    match = CODE.fullmatch(text_of(browser, ".recovery-code"))
    assert match, text_of(browser, "main")
    return match[0]


def connect(site: Site, browser: webdriver.Chrome, words: Words) -> str:
    browser.get(site.invite())
    click(browser, words.go_on)
    agree(browser)
    return wait_for_account(browser)


@pytest.mark.parametrize(("language", "width"), [("fr", NARROW), ("en", SMALL_DESKTOP)])
def test_a_household_comes_back_by_code_and_by_mail(
    servers: ConnectServers,
    browser: webdriver.Chrome,
    tmp_path: Path,
    mails: MailReceiver,
    language: str,
    width: int,
) -> None:
    words = WORDS[language]
    settings = {"notify_url": mail_url(mails, to="operator@example.org"), "contact": "operator@example.org"}
    with (
        open_site(servers, tmp_path, V5, **settings) as site,
        open_profile(browser, language=language, width=width),
    ):
        page = site.address + connect(site, browser, words)
        wait_for(browser, words.waits)
        judge(browser, "access-notice", width)
        press(browser, words.way_back, words.kept)
        judge(browser, "access-code", width)
        code = shown_code(browser)
        press(browser, words.kept, words.have_code)
        browser.find_element(By.NAME, "address").send_keys(HOME)
        press(browser, words.confirm_mail, HOME)
        judge(browser, "access-pending", width)
        browser.get(f"{site.address}/access/confirm#{links_of(mails)[0]}")
        wait_for(browser, words.read)
        assert "address_link" not in browser.current_url
        judge(browser, "access-confirm", width)
        press(browser, words.confirm, words.confirmed)
        judge(browser, "access-confirmed", width)

        with open_profile(browser, language=language, width=width):
            next_code = come_back_by_code(site, browser, words, page, code, width)
        lost = browser.current_window_handle
        with open_profile(browser, language=language, width=width):
            come_back_by_mail(site, browser, words, page, mails, width)
            new = browser.current_window_handle
            browser.switch_to.window(lost)
            browser.get(page)
            assert text_of(browser, "#connection"), "the lost phone is still signed in"
            browser.switch_to.window(new)
            browser.get(f"{site.address}/access/sessions")
            judge(browser, "access-sessions", width)
            press(browser, words.end_others, words.devices)
            until(lambda: words.end_others not in text_of(browser, "main"), "the end of the other sessions")
            browser.switch_to.window(lost)
            browser.get(page)
            until(lambda: browser.find_elements(By.CSS_SELECTOR, "a[href='/sign-in']"), "the way back in")
            assert not text_of(browser, "#connection")
            browser.switch_to.window(new)
            browser.get(page)
            press(browser, words.remove, words.remove_yes)
            press(browser, words.remove_yes, words.receipt)
        with open_profile(browser, language=language, width=width):
            browser.get(f"{site.address}/sign-in")
            browser.find_element(By.NAME, "code").send_keys(next_code, Keys.ENTER)
            wait_for(browser, words.over)
            judge(browser, "sign-in-wrong", width)


def come_back_by_code(site: Site, browser: webdriver.Chrome, words: Words, page: str, code: str, width: int) -> str:
    """Sign in with the code in a new browser, keep the next one, and return it."""
    browser.get(page)
    judge(browser, "access-unknown", width)
    browser.get(site.address)
    press(browser, words.sign_in, words.send)
    judge(browser, "sign-in", width)
    browser.find_element(By.NAME, "code").send_keys(code.lower(), Keys.ENTER)
    wait_for(browser, words.kept)
    next_code = shown_code(browser)
    assert next_code != code
    press(browser, words.kept, words.have_code)
    browser.get(page)
    until(lambda: browser.current_url == page and text_of(browser, "#connection"), "the account's page")
    return next_code


def come_back_by_mail(
    site: Site, browser: webdriver.Chrome, words: Words, page: str, mails: MailReceiver, width: int
) -> None:
    """Sign in by mail in a browser without scripts, where the person pastes the link."""
    allow_scripts(browser, False)
    count = len(mails.messages)
    browser.get(f"{site.address}/sign-in")
    browser.find_element(By.NAME, "address").send_keys(HOME, Keys.ENTER)
    wait_for(browser, words.sent)
    until(lambda: len(mails.messages) > count, "the mail")
    link = links_of(mails)[0]
    browser.get(f"{site.address}/sign-in/link#{link}")
    browser.find_element(By.NAME, "link").send_keys(browser.current_url)
    click(browser, words.open)
    until(lambda: browser.current_url == page, "the account's page")
    allow_scripts(browser, True)
    browser.get(f"{site.address}/sign-in/link")
    judge(browser, "sign-in-link", width)
