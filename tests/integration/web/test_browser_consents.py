"""Consents in a real browser, from the invitation to the account: in each generation, on a phone and on a desktop.

The web service runs in this process, and the worker's work is done when a test says so: each page between the supplier
and the account can be looked at.  Every page named here is judged by axe.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from tests.support.browser import (
    DESKTOP,
    PHONE,
    allow_scripts,
    check_page,
    click,
    go,
    look_at,
    open_profile,
    text_of,
    wait_for,
)
from tests.support.connect_service import METER, ConnectServers, ConnectService, open_connect_service
from tests.support.operators import add_operator
from tests.support.simulators import run_in_background
from tests.support.waiting import until
from worker.stores.redis.child_processes import free_port
from worker.web.consent.browser_names import BROWSER_COOKIE
from worker.web.sessions import SESSION_COOKIE

V4, V5, V2026 = "enedis-v4", "enedis-v5", "enedis-2026"
ASKS_SUPPLIER: Final = {V4: "oauth2/token", V2026: "subscribed_services"}


@dataclass
class Words:
    """What pages say, in one language."""

    invited: str
    read: str
    field: str
    go_on: str
    working: str
    over: str
    silent: str
    our_turn: str


FRENCH: Final = Words(
    "Votre invitation",
    "Votre invitation a bien été reconnue",
    "Lien ou code d’invitation",
    "Continuer",
    "Un instant",
    "Cette invitation n’est plus valable",
    "Enedis ne répond pas",
    "Demande en attente",
)
ENGLISH: Final = Words(
    "Your invitation",
    "Your invitation has been recognised",
    "Invitation link or code",
    "Continue",
    "One moment",
    "This invitation is no longer valid",
    "Enedis does not answer",
    "Waiting for our turn",
)
WORDS: Final = {"fr": FRENCH, "en": ENGLISH}


@dataclass
class Site:
    """A web service that a browser can reach, and its supplier."""

    service: ConnectService
    address: str

    def invite(self, meter: str = METER) -> str:
        return f"{self.address}/invitation#{self.service.invite(meter)}"

    def work(self) -> None:
        """Do what the worker does for the requests that are due; there must be one, soon."""
        for request_id in until(self._list_due, "a request that is due"):
            self.service.runtime.connector.conclude(request_id)

    def _list_due(self) -> list[str]:
        """Return the due requests: their index in Redis counts whole seconds, and names some a little early."""
        requests, now = self.service.runtime.connection_requests, datetime.now(UTC)
        found = {request_id: requests.get(request_id) for request_id in requests.list_due(now, 10)}
        return [request_id for request_id, request in found.items() if request and request.is_due(now)]

    def forget_gate(self) -> None:
        for key in self.service.runtime.redis.scan_iter("releve:gate:*"):
            self.service.runtime.redis.delete(key)


@contextmanager
def open_site(servers: ConnectServers, folder: Path, preset: str, **changes: Any) -> Iterator[Site]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    with ExitStack() as opened:
        service = opened.enter_context(
            open_connect_service(servers, folder, preset, consent_page=True, public_url=address, **changes)
        )
        opened.enter_context(run_in_background(service.app, port))
        yield Site(service, address)


def agree(browser: webdriver.Chrome) -> None:
    """Agree on the supplier's page, where the browser must have come to."""
    wait_for(browser, "aucun compteur réel")
    check_page(browser)
    click(browser, "Accepter")


def wait_for_account(browser: webdriver.Chrome) -> str:
    """Wait until the browser is on an account's page, and return its path."""
    match = until(lambda: re.search(r"/accounts/[a-z0-9]+$", browser.current_url), lambda: text_of(browser, "main"))
    return str(match[0])


@pytest.mark.parametrize(
    ("preset", "language", "width"), [(V4, "en", DESKTOP), (V5, "en", PHONE), (V2026, "fr", PHONE)]
)
def test_an_invited_household_connects(
    servers: ConnectServers,
    browser: webdriver.Chrome,
    tmp_path: Path,
    preset: str,
    language: str,
    width: int,
) -> None:
    words = WORDS[language]
    with open_site(servers, tmp_path, preset) as site, open_profile(browser, language=language, width=width):
        browser.get(site.address)
        look_at(browser, f"home-{preset}", width=width)
        browser.get(site.invite())
        assert words.read in text_of(browser, "main") and words.field not in text_of(browser, "main")
        assert browser.current_url == f"{site.address}/invitation", "the secret is not in the address any more"
        check_page(browser)
        click(browser, words.go_on)
        agree(browser)
        if preset in ASKS_SUPPLIER:
            wait_for(browser, words.working)
            site.work()
            browser.refresh()
        wait_for_account(browser)
        look_at(browser, f"account-{preset}", width=width)


@pytest.mark.parametrize(("language", "width"), [("fr", PHONE), ("en", DESKTOP)])
def test_a_callback_that_was_finished_in_another_load_says_so(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path, language: str, width: int
) -> None:
    title = {"fr": "Cette étape est déjà terminée", "en": "This step is already finished"}[language]
    with open_site(servers, tmp_path, V4) as site, open_profile(browser, language=language, width=width):
        browser.get(f"{site.address}/connect/enedis?usage_point_id={METER}")
        agree(browser)
        wait_for(browser, WORDS[language].working)
        callback = browser.current_url
        site.work()
        browser.refresh()
        wait_for_account(browser)
        browser.delete_cookie(SESSION_COOKIE)
        cookie = browser.get_cookie(BROWSER_COOKIE)
        before = cookie["value"].partition(".")[2]  # The names of before the callback.
        browser.add_cookie({**cookie, "value": before})
        browser.get(callback)
        wait_for(browser, title)
        look_at(browser, "ended-elsewhere", width=width)


def test_without_scripts_the_link_is_pasted(servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path) -> None:
    words = FRENCH
    with open_site(servers, tmp_path, V5) as site, open_profile(browser, width=PHONE):
        allow_scripts(browser, False)
        browser.get(f"{site.address}/invitation")
        assert words.read not in text_of(browser, "main")
        allow_scripts(browser, True)  # For axe; the page's own have had their time.
        look_at(browser, "invitation", width=PHONE)
        allow_scripts(browser, False)
        field = browser.find_element(By.XPATH, f"//input[@id = //label[contains(., '{words.field}')]/@for]")
        field.send_keys(site.invite())
        click(browser, words.go_on)
        wait_for(browser, "aucun compteur réel")
        click(browser, "Accepter")
        account = wait_for_account(browser)
        allow_scripts(browser, True)
        browser.get(site.invite())
        look_at(browser, "invitation-read", width=PHONE)
        browser.get(f"{site.address}{account}/stop")
        look_at(browser, "stop", width=PHONE)
        browser.get(site.address)
        look_at(browser, "home-connected", width=PHONE)


def test_an_invitation_stays_in_the_browser_that_went_on_with_it(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    words = ENGLISH
    with open_site(servers, tmp_path, V2026) as site, open_profile(browser, language="en") as person:
        first, link = browser.current_window_handle, site.invite()
        browser.get(link)
        click(browser, words.go_on)
        wait_for(browser, "aucun compteur réel")

        with open_profile(browser, language="en", width=PHONE):
            browser.get(link)
            go(browser, words.go_on, words.over)
            look_at(browser, "invitation-over", width=PHONE)

        person.open_tab(browser)
        browser.get(link)
        click(browser, words.go_on)
        agree(browser)
        wait_for(browser, words.working)
        look_at(browser, "working")
        site.work()
        account = wait_for_account(browser)
        browser.switch_to.window(first)
        click(browser, "Accepter")
        wait_for(browser, words.working)
        site.work()
        assert wait_for_account(browser) == account


@pytest.mark.parametrize(("preset", "language", "width"), [(V4, "fr", PHONE), (V2026, "en", DESKTOP)])
def test_a_silent_supplier_and_our_own_pacing_make_a_household_wait_but_not_begin_again(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path, preset: str, language: str, width: int
) -> None:
    words = WORDS[language]
    with open_site(servers, tmp_path, preset) as site, open_profile(browser, language=language, width=width):
        site.service.simulate("POST", "faults", {"path": ASKS_SUPPLIER[preset], "count": 1, "status": 503})
        browser.get(site.invite())
        click(browser, words.go_on)
        agree(browser)
        wait_for(browser, words.working)
        site.work()
        wait_for(browser, words.silent)
        assert re.search(r"\b\d\d:\d\d\b", text_of(browser, "main"))
        site.service.runtime.ledger.close_gate(6)
        site.work()
        browser.refresh()  # By itself it would wait for the next try.
        wait_for(browser, words.our_turn)
        assert re.search(r"\b\d\d:\d\d\b", text_of(browser, "main"))
        look_at(browser, "waiting-turn", width=width)
        site.forget_gate()  # It would open little by little.
        site.work()
        browser.refresh()
        wait_for_account(browser)


def test_whoever_proves_the_meter_of_an_account_chooses(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    with open_site(servers, tmp_path, V4) as site:
        holder = site.service.browser()
        before = site.service.connect(holder).headers["location"]
        assert holder.get(before).status_code == 200
        with open_profile(browser, language="fr", width=PHONE):
            prove_meter(browser, site)
            wait_for(browser, "Ce compteur a déjà un compte")
            look_at(browser, "choice", width=PHONE)
            go(browser, "Ne rien changer", "Relier mon compteur")
            assert [account.state.value for account in site.service.accounts()] == ["ready"]
        with open_profile(browser, language="en"):
            prove_meter(browser, site)
            wait_for(browser, "This meter has an account already")
            look_at(browser, "choice")
            click(browser, "Create a new account")
            assert wait_for_account(browser) != before
        assert holder.get(before).status_code == 404


def prove_meter(browser: webdriver.Chrome, site: Site) -> None:
    """Go over the supplier's page without an invitation, whose code proves the meter (v4)."""
    browser.get(f"{site.address}/connect/enedis?usage_point_id={METER}")
    agree(browser)
    site.work()


@pytest.mark.parametrize(("preset", "language"), [(V5, "fr"), (V2026, "en")])
def test_a_consent_without_an_invitation_opens_nothing_and_says_what_to_do(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path, preset: str, language: str
) -> None:
    needed, link = {"fr": ("Il manque une invitation", "J’ai une invitation")}.get(
        language, ("Prove that this meter is yours", "I have an invitation")
    )
    with open_site(servers, tmp_path, preset) as site, open_profile(browser, language=language, width=PHONE):
        browser.get(site.address)
        assert [button.text for button in browser.find_elements(By.CSS_SELECTOR, "main .button")] == [link]
        browser.get(f"{site.address}/connect/enedis?usage_point_id={METER}")
        wait_for(browser, "aucun compteur réel")
        click(browser, "Refuser")
        until(lambda: "/callback/" in browser.current_url)
        look_at(browser, "refused", width=PHONE)
        browser.get(f"{site.address}/connect/enedis?usage_point_id={METER}")
        agree(browser)
        wait_for(browser, needed)
        look_at(browser, "unproven", width=PHONE)
        assert site.service.accounts() == []
        if preset == V2026:
            go(browser, "Enter the meter reading", "What does your meter show?")
            look_at(browser, "reading", width=PHONE)
            browser.back()
            wait_for(browser, needed)
        go(browser, link, WORDS[language].invited)


def test_a_pretend_home_needs_its_number_alone(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    with open_site(servers, tmp_path, V5, pretend_homes=True) as site, open_profile(browser, width=PHONE):
        browser.get(site.address)
        look_at(browser, "home-pretend", width=PHONE)
        browser.find_element(By.NAME, "usage_point_id").send_keys(METER)
        click(browser, "Relier ce logement")
        agree(browser)
        wait_for_account(browser)
        browser.get(site.address)
        look_at(browser, "home-pretend-connected", width=PHONE)
        (account,) = site.service.accounts()
        assert account.usage_point_id == METER


def test_the_operator_invites_and_the_household_comes(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    with open_site(servers, tmp_path, V5) as site, open_profile(browser):
        operator = add_operator(site.service.runtime)
        browser.get(f"{site.address}/operator")
        look_at(browser, "operator-login")
        browser.find_element(By.NAME, "name").send_keys(operator.name)
        browser.find_element(By.NAME, "password").send_keys(operator.password, Keys.ENTER)
        until(lambda: browser.find_elements(By.NAME, "whom"), "the operator's page")
        browser.find_element(By.NAME, "whom").send_keys("nobody")
        click(browser, "Créer le lien")
        until(lambda: browser.find_elements(By.ID, "invite-fault"), "what is wrong")
        look_at(browser, "operator-fault")
        field = browser.find_element(By.NAME, "whom")
        field.clear()
        field.send_keys(METER)
        click(browser, "Créer le lien")
        until(lambda: browser.find_elements(By.CSS_SELECTOR, ".secret"), "the link")
        look_at(browser, "operator-link")
        link = text_of(browser, ".secret code")
        click(browser, "Retour aux invitations")
        until(lambda: browser.find_elements(By.CSS_SELECTOR, ".invited li"), "the list of invitations")
        look_at(browser, "operator")
        with open_profile(browser, language="en", width=PHONE):
            browser.get(link)
            click(browser, ENGLISH.go_on)
            agree(browser)
            wait_for_account(browser)
