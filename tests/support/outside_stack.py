"""A client of the consent proxy over real processes: a person's browser, and the calls of the client's server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

import requests

from tests.support.household_browser import HouseholdBrowser
from tests.support.outside_view import Service
from tests.support.proxy_stack import fields_of
from tests.support.waiting import DEADLINE_S, until

STACK = "https://stack.example/accounts/enedis/redirect"  # Nobody answers there: the tests stop before it.


@dataclass(frozen=True)
class OutsideStack:
    """A client with the id and the secret printed by ``releve access add-client``."""

    service: Service
    client_id: str
    secret: str

    @classmethod
    def register(cls, service: Service) -> OutsideStack:
        made = service.system.query("access", "add-client", "A stack", "--no-pkce", "--redirect-uri", STACK)
        return cls(service, made["id"], made["client_secret"])

    def begin(self, browser: HouseholdBrowser, meter: str) -> str:
        """Go through our page and the supplier's, and return the supplier's callback."""
        asked = {"client_id": self.client_id, "redirect_uri": STACK, "response_type": "code", "state": "their-state"}
        page = browser.get(f"/proxy/enedis/auth?{urlencode({**asked, 'usage_point_id': meter})}")
        assert page.status_code == 200 and "A stack" in page.text and "stack.example" in page.text
        invitation = self.service.invite("--usage-point", meter)
        answer = browser.submit("/proxy/enedis/auth", **fields_of(page.text), invitation=invitation)
        return browser.agree_on(answer)

    @staticmethod
    def come_back(browser: HouseholdBrowser, callback: str) -> requests.Response:
        """Load the callback until the consent is concluded, and return the last answer."""
        answers = [browser.get(callback)]

        def is_concluded() -> bool:
            if answers[-1].status_code == 202:
                answers.append(browser.get(callback))
            return answers[-1].status_code != 202

        until(is_concluded, "the end of a consent")
        return answers[-1]

    def token(self, **form: str) -> requests.Response:
        credentials = {"client_id": self.client_id, "client_secret": self.secret}
        return requests.post(f"{self.service.address}/proxy/enedis/token", {**credentials, **form}, timeout=DEADLINE_S)

    def exchange(self, code: str) -> requests.Response:
        return self.token(grant_type="authorization_code", code=code, redirect_uri=STACK)

    def refresh(self, refresh_token: str) -> requests.Response:
        return self.token(grant_type="refresh_token", refresh_token=refresh_token)

    def read(self, access_token: str, meter: str) -> requests.Response:
        """Request two days of the daily series."""
        preset = self.service.system.parts.sync.suppliers.main.endpoints.preset
        names = (preset.usage_point_parameter, preset.start_parameter, preset.end_parameter)
        return requests.get(
            f"{self.service.address}/proxy/enedis/data/mesure_synchrone_auto/v2/consommation_quotidienne",
            dict(zip(names, (meter, "2024-07-20", "2024-07-22"), strict=True)),
            headers={"Authorization": f"Bearer {access_token}"},
            timeout=DEADLINE_S,
        )
