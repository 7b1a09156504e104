"""The pages of a service in this process for a real browser, and a household's session in it.

Documents are written straight into the store; nobody asks a supplier.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver

from tests.support.api_service import ApiService, open_api_service, sign_in
from tests.support.browser import DESKTOP, check_page, look_at, set_screen
from tests.support.simulators import run_in_background
from worker.stores.redis.child_processes import free_port
from worker.web.sessions import SESSION_COOKIE


@contextmanager
def open_browsed_service(redis_url: str, folder: Path, **settings: Any) -> Iterator[tuple[ApiService, str]]:
    """Serve the pages of a service, and yield it with its address."""
    port = free_port()
    usual = {"public_url": f"http://127.0.0.1:{port}", "api_calls_per_minute": 1000}
    with (
        open_api_service(redis_url, folder, **(usual | settings)) as service,
        run_in_background(service.app, port) as address,
    ):
        yield service, address


def open_pages(browser: webdriver.Chrome, service: ApiService, address: str, *accounts: str) -> None:
    """Give the browser the session of a household with these accounts."""
    cookie, _ = sign_in(service.runtime, *accounts)
    set_session(browser, address, SESSION_COOKIE, cookie)


def set_session(browser: webdriver.Chrome, address: str, name: str, cookie: str) -> None:
    """Give the browser a session's cookie, which takes a page of that host."""
    browser.get(f"{address}/static/icon.svg")
    browser.add_cookie({"name": name, "value": cookie})


def look_at_all_widths(browser: webdriver.Chrome, name: str) -> None:
    """Look at a page, also on the narrowest phone."""
    set_screen(browser, 320)
    check_page(browser)
    look_at(browser, name, width=DESKTOP)
