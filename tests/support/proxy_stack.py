"""A client of the consent proxy in tests, such as a Cozy stack, and the walk of a person through its pages."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from html import unescape
from typing import Any

import httpx2
from fastapi.testclient import TestClient

from tests.support.connect_service import METER, ConnectService, query_of
from worker.domain.account import DEFAULT_TENANT
from worker.stores.registry.tables import PROXY_CLIENTS

STACK = "https://oauthcallback.cozy.example/accounts/enedis/redirect"
STATE = "of the stack " + "s" * 300  # Longer than the supplier takes.


def fields_of(page: str) -> dict[str, str]:
    """Return the hidden fields of a page's form."""
    fields = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', page)
    assert fields, page[-1500:]
    return {name: unescape(value) for name, value in fields}


@dataclass
class ProxyStack:
    """A client with its secret."""

    service: ConnectService
    client_id: str
    secret: str
    address: str = STACK

    @classmethod
    def register(
        cls,
        service: ConnectService,
        *addresses: str,
        tenant: str = DEFAULT_TENANT,
        pkce: bool = False,
        numbers_in_redirect: bool = True,
    ) -> ProxyStack:
        """Make a client, by default with the two switches for a stack that needs them."""
        client, secret = service.parts.stores.registry.proxy_clients.create(
            "My Cozy", addresses or (STACK,), tenant, pkce=pkce, numbers_in_redirect=numbers_in_redirect
        )
        return cls(service, client.id, secret, client.redirect_uris[0])

    @classmethod
    def register_old(cls, service: ConnectService) -> ProxyStack:
        """Make a client as 0.2.0 made it: its row has the defaults of the columns that are newer."""
        client, secret = service.parts.stores.registry.proxy_clients.create(
            "Old Cozy", (STACK,), DEFAULT_TENANT, pkce=False
        )
        old = PROXY_CLIENTS.update().where(PROXY_CLIENTS.c.id == client.id)
        service.parts.stores.registry.database.change(old.values(strict=False, numbers_in_redirect=True))
        return cls(service, client.id, secret)

    @property
    def credentials(self) -> dict[str, str]:
        return {"client_id": self.client_id, "client_secret": self.secret}

    # -- The person

    def parameters(self, **changes: str | None) -> dict[str, str]:
        """Return what the stack sends along when it sends the person to the proxy."""
        usual: dict[str, str | None] = {
            "client_id": self.client_id,
            "response_type": "code",
            "scope": "openid",
            "state": STATE,
            "redirect_uri": self.address,
            "usage_point_id": METER,
        }
        return {name: value for name, value in (usual | changes).items() if value is not None}

    def show(self, browser: TestClient, **changes: str | None) -> httpx2.Response:
        return browser.get("/proxy/enedis/auth", params=self.parameters(**changes))

    def press(
        self, browser: TestClient, page: httpx2.Response, invitation: str = "", **changes: str
    ) -> httpx2.Response:
        """Press the page's button, with an invitation if it has the field."""
        assert page.status_code == 200, page.text
        form = {**fields_of(page.text), "invitation": invitation, **changes}
        return browser.post("/proxy/enedis/auth", data=form)

    def begin(self, browser: TestClient, meter: str = METER, **changes: str | None) -> str:
        """Walk through our page and the supplier's, and return the supplier's callback."""
        invitation = "" if self.service.parts.sync.suppliers.main.account_tokens else self.service.invite(meter)
        page = self.show(browser, **{"usage_point_id": meter, **changes})
        answer = self.press(browser, page, invitation)
        assert answer.status_code == 303, answer.text
        assert len(query_of(answer.headers["location"])["state"]) <= 100
        return self.service.agree(answer.headers["location"])

    def walk(self, browser: TestClient | None = None, meter: str = METER, **changes: str | None) -> dict[str, str]:
        """Walk through all pages, and return the parameters that the stack gets."""
        browser = browser or self.service.browser()
        answer = self.service.come_back(browser, self.begin(browser, meter, **changes))
        assert answer.status_code == 302, answer.text
        address, _, _ = answer.headers["location"].partition("?")
        assert address == (changes.get("redirect_uri") or self.address).partition("?")[0]
        return query_of(answer.headers["location"])

    def hand_over_to_new_holder(self) -> Any:
        """Let the meter's new holder share it, by an invitation that says so, and return the client's tokens."""
        browser, secret = self.service.browser(), self.service.invite(new_holder=True)
        answer = self.press(browser, self.show(browser), secret)
        back = self.service.come_back(browser, self.service.agree(answer.headers["location"]))
        assert back.status_code == 302, back.text
        return self.exchange(query_of(back.headers["location"])["code"])

    # -- The stack's server

    def token(self, form: Mapping[str, str], **changes: str) -> httpx2.Response:
        return self.service.browser().post("/proxy/enedis/token", data={**self.credentials, **form, **changes})

    def exchange(self, code: str, **changes: str) -> Any:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": self.address}
        answer = self.token(form, **changes)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def refresh(self, refresh_token: str) -> httpx2.Response:
        return self.token({"grant_type": "refresh_token", "refresh_token": refresh_token})

    def renew(self, refresh_token: str) -> Any:
        answer = self.refresh(refresh_token)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def read(self, access_token: str, meter: str = METER, **changes: str) -> httpx2.Response:
        """Ask for two days of the daily series."""
        preset = self.service.parts.sync.suppliers.main.endpoints.preset
        names = (preset.usage_point_parameter, preset.start_parameter, preset.end_parameter)
        query = {**dict(zip(names, (meter, "2024-07-20", "2024-07-22"), strict=True)), **changes}
        path = next(iter(preset.paths.values()))
        headers = {"Authorization": f"Bearer {access_token}"}
        return self.service.browser().get(f"/proxy/enedis/data{path}", params=query, headers=headers)
