"""Helpers for tests of how a household gets back in: its code, its mails, and the forms of its pages."""

from __future__ import annotations

import re
from html import unescape

import httpx2
from fastapi.testclient import TestClient

from tests.support.api_service import ApiService
from tests.support.household_pages import FRENCH, csrf_of
from tests.support.mail_server import MailReceiver
from tests.support.waiting import until
from worker.web.dependencies import SESSION_COOKIE, Session, load_session

HOME = "Anne.Home@example.org"
CODE = re.compile(r"(?:[0-9A-HJKMNP-TV-Z]{4}-){6}[0-9A-HJKMNP-TV-Z]{4}")
_LINK = re.compile(r"(http://[^\s#]+)#((?:sign_in|address)_link_[a-z0-9]{12}_[\w-]{43})")
_SHOWN_CODE = re.compile(rf'recovery-code"><code>({CODE.pattern})</code>')


def shown_code(browser: TestClient) -> str:
    """Return the code that the household's page shows, or an empty text."""
    match = _SHOWN_CODE.search(browser.get("/access").text)
    return match[1] if match else ""


def press(browser: TestClient, page: str, action: str, **fields: str) -> httpx2.Response:
    """Send a form of ``page`` with its hidden field, and follow no redirect."""
    data = {"csrf": csrf_of(browser.get(page).text), **fields}
    return browser.post(action, data=data, follow_redirects=False)


def keep_code(browser: TestClient) -> str:
    """Press the button that says that the code is kept, and return the code."""
    code = shown_code(browser)
    assert press(browser, "/access", "/access/kept").status_code == 303
    return code


def enter_code(browser: TestClient, code: str) -> httpx2.Response:
    return press(browser, "/sign-in", "/sign-in/code", code=code)


def ask_by_mail(browser: TestClient, address: str) -> httpx2.Response:
    return press(browser, "/sign-in", "/sign-in/mail", address=address)


def session_of(service: ApiService, browser: TestClient) -> Session:
    return load_session(service.parts.access, browser.cookies.get(SESSION_COOKIE))


def links_of(mails: MailReceiver, number: int = -1) -> list[str]:
    """Return the secrets of the links in a mail that has come."""
    until(lambda: mails.messages, "a mail")
    return [match[2] for match in _LINK.finditer(mails.messages[number].get_content())]


def confirm_address(browser: TestClient, mails: MailReceiver, address: str) -> None:
    """Give an address on the household's page, and confirm it in the same browser."""
    assert press(browser, "/access", "/access/address", address=address).status_code == 303
    (link,) = links_of(mails)
    confirmed = press(browser, "/access/confirm", "/access/confirm", link=link)
    assert confirmed.status_code == 200, unescape(confirmed.text)


def household(service: ApiService, account: str, mails: MailReceiver, headers: dict[str, str] = FRENCH) -> TestClient:
    """Return a browser whose household has confirmed the address ``HOME``."""
    browser = service.browser(account)
    browser.headers.update(headers)
    confirm_address(browser, mails, HOME)
    mails.messages.clear()
    mails.recipients.clear()
    return browser
