"""The proxy's page in a real browser: it names who asks, and leads to the supplier and back to the client."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.integration.web.test_browser_consents import V4, V5, V2026, Site, agree, open_site
from tests.support.browser import DESKTOP, PHONE, check_page, click, look_at, open_profile, text_of, wait_for
from tests.support.connect_service import METER, ConnectServers, query_of
from tests.support.proxy_stack import ProxyStack
from tests.support.waiting import until

GO = {"fr": "Continuer vers Enedis", "en": "Continue to Enedis"}
TITLE = {"fr": "Partager votre consommation avec", "en": "Share your consumption with"}
READ = {"fr": "Votre invitation a bien été reconnue", "en": "Your invitation has been recognised"}
OPENED = {"fr": "que vous avez ouverte dans ce navigateur", "en": "that you opened in this browser"}
WORKING = {"fr": "Un instant", "en": "One moment"}


def register(site: Site) -> tuple[ProxyStack, str]:
    """Make a client whose address is on the same server, and return it with the address that it sends people to."""
    stack = ProxyStack.register(site.service, f"{site.address}/")
    query = urlencode(stack.parameters(state="their-state", usage_point_id=METER))
    return stack, f"{site.address}/proxy/enedis/auth?{query}"


@pytest.mark.parametrize(
    ("preset", "language", "width"), [(V4, "en", DESKTOP), (V5, "fr", PHONE), (V2026, "en", PHONE)]
)
def test_a_person_shares_with_a_stack(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path, preset: str, language: str, width: int
) -> None:
    with open_site(servers, tmp_path, preset) as site, open_profile(browser, language=language, width=width):
        stack, start = register(site)
        browser.get(start)
        wait_for(browser, f"{TITLE[language]} My Cozy")
        assert site.address.partition("://")[2] in text_of(browser, "main")
        look_at(browser, f"proxy-{preset}", width=width)
        if preset != V4:
            # The client may hand the link on: browsers keep what stands behind the # over redirects.
            browser.get("about:blank")
            browser.get(f"{start}#{site.service.invite()}")
            wait_for(browser, READ[language])
            assert "invite_" not in browser.current_url
            look_at(browser, f"proxy-read-{preset}", width=width)
        click(browser, GO[language])
        agree(browser)
        if preset == V2026:
            wait_for(browser, WORKING[language])
            site.work()
            browser.refresh()
        until(lambda: "state=their-state" in browser.current_url, lambda: text_of(browser, "main"))
        query = query_of(browser.current_url)
        assert stack.exchange(query["code"], redirect_uri=f"{site.address}/")["usage_points_id"] == METER


def test_without_scripts_the_link_is_pasted_and_an_opened_one_need_not_be(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    with open_site(servers, tmp_path, V5) as site, open_profile(browser, language="fr", width=PHONE):
        _, start = register(site)
        browser.get(site.invite())
        click(browser, "Continuer")
        wait_for(browser, "aucun compteur réel")  # The person turns back here.
        browser.get(start)
        wait_for(browser, OPENED["fr"])
        look_at(browser, "proxy-opened", width=PHONE)
        browser.find_element(By.NAME, "invitation").send_keys(site.invite())  # A newer one.
        click(browser, GO["fr"])
        agree(browser)
        until(lambda: "state=their-state" in browser.current_url, lambda: text_of(browser, "main"))


@pytest.mark.parametrize("language", ["fr", "en"])
def test_an_unknown_client_gets_a_page_of_its_own(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path, language: str
) -> None:
    with open_site(servers, tmp_path, V5) as site, open_profile(browser, language=language, width=PHONE):
        _, start = register(site)
        browser.get(start.replace("client_id=", "client_id=x"))
        wait_for(
            browser, {"fr": "Cette demande ne peut pas aboutir", "en": "This request can’t be completed"}[language]
        )
        check_page(browser)
        look_at(browser, "proxy-unknown", width=PHONE)
