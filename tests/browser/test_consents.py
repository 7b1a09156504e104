"""Ways of a consent on whose pages a browser waits, chooses or proves: each page is looked at, also by axe.

tests/browser/test_walks.py has the way without a halt.
"""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlencode

from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.integration.web.test_campaign_links import connect_long_ago, mail
from tests.support.browsed_pages import SUPPLIER, Site, agree, open_site, wait_for_account
from tests.support.browser import PHONE, click, go, look_at, open_profile, text_of, wait_for
from tests.support.connect_service import METER, ConnectServers, query_of
from tests.support.proxy_stack import ProxyStack
from tests.support.waiting import until
from worker.accounts.campaigns import CAMPAIGN_TICKET
from worker.web.dependencies import SESSION_COOKIE
from worker.web.pages.consent_callback import BROWSER_COOKIE

INVITED = "I have an invitation"


def begin_uninvited(site: Site, browser: webdriver.Chrome) -> None:
    browser.get(f"{site.address}/connect/enedis?usage_point_id={METER}")


def test_a_silent_supplier_and_our_own_pacing_make_a_household_wait_but_not_begin_again(
    site: Site, browser: webdriver.Chrome
) -> None:
    with open_profile(browser, language="en", width=PHONE):
        site.service.simulate("POST", "faults", {"path": "subscribed_services", "count": 1, "status": 503})
        browser.get(site.invite())
        click(browser, "Continue")
        agree(browser)
        wait_for(browser, "One moment")
        look_at(browser, "working")
        site.work()
        wait_for(browser, "Enedis does not answer")  # By itself.
        assert re.search(r"\b\d\d:\d\d\b", text_of(browser, "main"))
        site.parts.sync.ledger.close_gate(6)
        site.work()
        browser.refresh()  # By itself it would wait for the next try.
        wait_for(browser, "Waiting for our turn")
        assert re.search(r"\b\d\d:\d\d\b", text_of(browser, "main"))
        look_at(browser, "waiting-turn")
        for key in site.parts.stores.redis.scan_iter("releve:gate:*"):  # It would open little by little.
            site.parts.stores.redis.delete(key)
        site.work()
        browser.refresh()
        wait_for_account(browser)
        look_at(browser, "account-new")


def test_without_an_invitation_a_consent_opens_nothing_and_its_page_says_what_to_do(
    site: Site, browser: webdriver.Chrome
) -> None:
    with open_profile(browser, language="en", width=PHONE):
        browser.get(site.address)
        assert [button.text for button in browser.find_elements(By.CSS_SELECTOR, "main .button")] == [INVITED]
        begin_uninvited(site, browser)
        click(browser, "Refuser")
        until(lambda: "/callback/" in browser.current_url)
        look_at(browser, "refused")
        begin_uninvited(site, browser)
        agree(browser)
        wait_for(browser, "Prove that this meter is yours")
        look_at(browser, "unproven")
        go(browser, "Enter the meter reading", "What does your meter show?")
        look_at(browser, "reading")
        browser.back()
        go(browser, INVITED, "Your invitation")
        assert site.service.accounts() == []


def test_of_an_older_generation_the_code_proves_the_meter_and_whoever_proves_that_of_an_account_chooses(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    with open_site(servers, tmp_path, "enedis-v4") as site, open_profile(browser, language="en", width=PHONE):
        begin_uninvited(site, browser)
        agree(browser)
        wait_for(browser, "One moment")
        callback = browser.current_url
        site.work()
        browser.refresh()
        before = wait_for_account(browser)

        browser.delete_cookie(SESSION_COOKIE)
        cookie = browser.get_cookie(BROWSER_COOKIE)
        names_before = cookie["value"].partition(".")[2]  # Those of before the callback.
        browser.add_cookie({**cookie, "value": names_before})
        browser.get(callback)
        wait_for(browser, "This step is already finished")
        look_at(browser, "ended-elsewhere")

        with open_profile(browser, language="en"):
            begin_uninvited(site, browser)
            agree(browser)
            site.work()
            wait_for(browser, "This meter has an account already")
            look_at(browser, "choice")
            go(browser, "Change nothing", "Connect my meter")
            assert [account.state.value for account in site.service.accounts()] == ["ready"]
            browser.back()
            click(browser, "Create a new account")
            assert wait_for_account(browser) != before


def test_a_pretend_home_needs_its_number_alone(
    servers: ConnectServers, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    with (
        open_site(servers, tmp_path, "enedis-v5", pretend_homes=True) as site,
        open_profile(browser, width=PHONE),
    ):
        browser.get(site.address)
        look_at(browser, "home-pretend")
        browser.find_element(By.NAME, "usage_point_id").send_keys(METER)
        click(browser, "Relier ce logement")
        agree(browser)
        wait_for_account(browser)
        assert [account.usage_point_id for account in site.service.accounts()] == [METER]


def test_a_person_shares_with_a_stack(site: Site, browser: webdriver.Chrome) -> None:
    stack = ProxyStack.register(site.service, f"{site.address}/")  # Its address is on the same server.
    start = f"{site.address}/proxy/enedis/auth?{urlencode(stack.parameters(state='their-state'))}"
    with open_profile(browser, language="en", width=PHONE):
        # The client may hand the link on: browsers keep what stands behind the # over redirects.
        browser.get(f"{start}#{site.service.invite()}")
        wait_for(browser, "Your invitation has been recognised")
        assert "invite_" not in browser.current_url
        go(browser, "Continue to Enedis", SUPPLIER)  # The person turns back here.
        browser.get(start)
        wait_for(browser, "that you opened in this browser")
        look_at(browser, "proxy-opened")
        browser.find_element(By.NAME, "invitation").send_keys(site.invite())  # A newer one.
        click(browser, "Continue to Enedis")
        agree(browser)
        wait_for(browser, "One moment")
        site.work()
        browser.refresh()
        until(lambda: "state=their-state" in browser.current_url, lambda: text_of(browser, "main"))
        code = query_of(browser.current_url)["code"]
        assert stack.exchange(code, redirect_uri=f"{site.address}/")["usage_points_id"] == METER


def test_a_campaigns_link_asks_for_a_yes_or_a_no(site: Site, browser: webdriver.Chrome) -> None:
    account = connect_long_ago(site.service)
    recipient = mail(site.service, account)
    link = f"{site.address}/renew#{site.parts.access.signer.make_ticket(recipient.id, CAMPAIGN_TICKET)}"
    with open_profile(browser, language="en", width=PHONE):
        browser.get(link)
        wait_for(browser, "Your link has been recognised")
        assert "#" not in browser.current_url
        look_at(browser, "campaign-link")
        click(browser, "Yes, continue")
        agree(browser)
        wait_for(browser, "One moment")
        site.work()
        browser.refresh()
        wait_for(browser, "your consent is recorded")
        look_at(browser, "held-history")
        go(browser, "Enter the meter reading", "What does your meter show?")
