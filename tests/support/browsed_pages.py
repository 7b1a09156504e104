"""The pages of a service in this process for a real browser, served as `releve web` serves them.

The worker's tasks run only when a test calls them, so that each page between the supplier and the account can be seen.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from selenium import webdriver
from starlette.types import ASGIApp

from tests.support.api_service import ApiService, sign_in
from tests.support.browser import check_page, click, text_of, wait_for
from tests.support.connect_service import METER, ConnectServers, ConnectService, open_connect_service
from tests.support.parts import Parts
from tests.support.waiting import until
from worker.stores.child_processes import free_port
from worker.stores.sockets import listen
from worker.web.dependencies import SESSION_COOKIE
from worker.web.server import ConnectionLimits, WebServer

SUPPLIER: Final = "aucun compteur réel"  # A text of the supplier's page, which the simulator has only in French.


@dataclass(frozen=True)
class Site:
    """A web service that a browser can reach, its supplier, and its households' documents."""

    service: ConnectService
    address: str

    @property
    def parts(self) -> Parts:
        return self.service.parts

    @property
    def api(self) -> ApiService:
        return ApiService(self.parts, self.service.app)

    def invite(self, meter: str = METER) -> str:
        return f"{self.address}/invitation#{self.service.invite(meter)}"

    def work(self) -> None:
        """Do the worker's task for the due requests; wait until there is one."""
        for request_id in until(self._list_due, "a request that is due"):
            self.parts.consent.connector.conclude(request_id)

    def _list_due(self) -> list[str]:
        """Return the due requests; their index in Redis has whole seconds, so it lists some a little early."""
        requests, now = self.parts.consent.requests, datetime.now(UTC)
        found = {request_id: requests.get(request_id) for request_id in requests.list_due(now, 10)}
        return [request_id for request_id, request in found.items() if request and request.is_due(now)]

    def sign_in(self, browser: webdriver.Chrome, *accounts: str) -> None:
        """Give the browser the session of a new household with these accounts."""
        self.set_cookie(browser, SESSION_COOKIE, sign_in(self.parts, *accounts)[0])

    def set_cookie(self, browser: webdriver.Chrome, name: str, text: str) -> None:
        browser.get(f"{self.address}/static/icon.svg")  # A cookie can only be set for the host that is shown.
        browser.add_cookie({"name": name, "value": text})


@contextmanager
def open_site(servers: ConnectServers, folder: Path, preset: str = "enedis-2026", **settings: Any) -> Iterator[Site]:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    usual = {"public_url": address, "api_calls_per_minute": 1000}
    with (
        open_connect_service(servers, folder, preset, consent_page=True, **(usual | settings)) as service,
        _served(service.app, port),
    ):
        yield Site(service, address)


@contextmanager
def _served(app: ASGIApp, port: int) -> Iterator[None]:
    server = WebServer(app, ConnectionLimits())
    with listen("127.0.0.1", port) as listener:
        thread = threading.Thread(target=server.run, args=(listener,))
        thread.start()
        try:
            yield
        finally:
            server.stop()
            thread.join()


def agree(browser: webdriver.Chrome) -> None:
    """Agree on the supplier's page, which the browser must show."""
    wait_for(browser, SUPPLIER)
    check_page(browser)
    click(browser, "Accepter")


def wait_for_account(browser: webdriver.Chrome) -> str:
    """Wait until the browser is on an account's page, and return the account's id."""
    match = until(lambda: re.search(r"/accounts/([a-z0-9]+)$", browser.current_url), lambda: text_of(browser, "main"))
    return str(match[1])
