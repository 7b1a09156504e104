"""A household's browser for real processes: it follows redirects, submits a page's form, and reloads if a page says so.

It keeps cookies, so two of them are two persons. It runs no scripts, like a browser with scripts turned off.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import requests

from tests.support.household_pages import csrf_of
from tests.support.waiting import DEADLINE_S

_LONGEST_S: Final = 30.0


@dataclass(frozen=True)
class Page:
    """The page that the browser shows."""

    status: int
    path: str
    text: str

    @property
    def account(self) -> str | None:
        """The id of the account whose page this is, or None."""
        match = re.fullmatch(r"/accounts/([a-z0-9]+)", self.path)
        return match[1] if match and self.status == 200 else None


class HouseholdBrowser:
    """A browser for the web service at ``address`` and the supplier's page at ``supplier``."""

    def __init__(self, address: str, supplier: str) -> None:
        self.address, self.supplier = address, supplier
        self.last_callback: dict[str, str] = {}
        self._session = requests.Session()
        self._session.trust_env = False  # Other threads of a test may change the environment.
        self._session.headers["Accept-Language"] = "en"

    def __enter__(self) -> HouseholdBrowser:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def get(self, path: str, token: str = "") -> requests.Response:
        """Load an address of ours without following redirects; ``token``: of the API."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._session.get(self.address + path, headers=headers, allow_redirects=False, timeout=DEADLINE_S)

    def visit(self, path: str) -> Page:
        """Load an address of ours, follow redirects, and reload while the page says so."""
        return self.follow(self.get(path))

    def submit(self, path: str, **fields: str) -> requests.Response:
        return self._session.post(self.address + path, fields, allow_redirects=False, timeout=DEADLINE_S)

    def press(self, page: Page, action: str) -> requests.Response:
        """Press the button of the page's form that goes to ``action``, with its hidden fields."""
        form = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', page.text, re.DOTALL)
        assert form, f"no form leads to {action}: {page.text[-1500:]}"
        hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form[0])
        return self.submit(action, **dict(hidden))

    # -- Consents

    def connect(self, meter: str) -> Page:
        """Connect without an invitation; the simulator's holder agrees for ``meter``."""
        return self.visit(f"/connect/enedis?usage_point_id={meter}")

    def agree_on(self, answer: requests.Response) -> str:
        """Agree on the supplier's page, to which ``answer`` redirects, and return the callback's path unloaded."""
        page = self._session.get(answer.headers["Location"], allow_redirects=False, timeout=DEADLINE_S)
        return self._remember_callback(page.headers["Location"])

    def type_callback(self, **query: str) -> Page:
        """Begin a consent, and load an invented callback instead of going to the supplier."""
        return self.follow(self.load_callback(**query))

    def load_callback(self, **query: str) -> requests.Response:
        """Do the same as ``type_callback`` without following redirects."""
        page = self.get("/connect/enedis")
        assert page.status_code == 303, f"{page.status_code} {page.text[-800:]}"
        state = parse_qs(urlsplit(page.headers["Location"]).query)["state"][0]
        return self.get(self.callback(**{**query, "state": state}))

    @staticmethod
    def callback(**query: str) -> str:
        return f"/callback/enedis?{urlencode(query)}"

    def open_invitation(self, link: str) -> requests.Response:
        """Load the page of the link, as with a click, and press its button. The part after # isn't sent."""
        page_address, _, secret = link.partition("#")
        page = self._session.get(page_address, allow_redirects=False, timeout=DEADLINE_S)
        assert page.status_code == 200, f"{page.status_code} {page.text[-800:]}"
        assert secret and secret not in page.text
        return self.submit("/invitation", invitation=secret, csrf=csrf_of(page.text))

    def answer_campaign(self, link: str, answer: str = "yes") -> requests.Response:
        """Load the page of a campaign's link, as with a click, and press one of its two buttons."""
        page_address, _, secret = link.partition("#")
        page = self._session.get(page_address, allow_redirects=False, timeout=DEADLINE_S)
        assert page.status_code == 200 and secret, f"{page.status_code} {page.text[-800:]}"
        return self.submit("/renew", invitation=secret, answer=answer, csrf=csrf_of(page.text))

    def accept_invitation(self, link: str) -> Page:
        """Open an invitation, agree on the supplier's page, and come back."""
        return self.follow(self.open_invitation(link))

    def open_connected(self, page: Page) -> Page:
        """Press the button by which a connected account opens."""
        return self.follow(self.press(page, page.path))

    def join(self, page: requests.Response) -> Page:
        """Let the new meter join those of the session, as the page asks."""
        offer = re.search(r'name="offer" value="([^"]+)"', page.text)
        assert offer, f"nothing is asked: {page.text[-1500:]}"
        return self.follow(self.submit("/connect/join", offer=offer[1], choice="join"))

    # -- What it sees

    def can_see(self, account: str) -> bool:
        """Return whether it may see account page and measures; both must agree."""
        statuses = [
            self.get(path).status_code for path in (f"/accounts/{account}", f"/api/accounts/{account}/measures")
        ]
        assert statuses in ([200, 200], [404, 404], [404, 401]), statuses
        return statuses == [200, 200]

    def days(self, account: str) -> dict[str, float]:
        """Return the kWh of each stored day from the API."""
        page = self.get(f"/api/accounts/{account}/measures?by=day&limit=5000")
        assert page.status_code == 200, page.text
        rows = page.json()["documents"]
        return {f"{row['year']}-{row['month']:02}-{row['day']:02}": row["load"] for row in rows}

    def follow(self, answer: requests.Response) -> Page:
        """Follow the redirects of an answer, and reload while the page says so."""
        deadline = time.monotonic() + _LONGEST_S
        while True:
            if answer.is_redirect:
                target = urljoin(answer.url, answer.headers["Location"])
                if urlsplit(target).path.startswith(("/callback/", "/proxy/")):
                    self._remember_callback(target)
            elif "Refresh" in answer.headers and time.monotonic() < deadline:
                time.sleep(min(float(answer.headers["Refresh"]), max(0.0, deadline - time.monotonic())))
                target = answer.url
            else:
                return Page(answer.status_code, urlsplit(answer.url).path, answer.text)
            answer = self._session.get(target, allow_redirects=False, timeout=DEADLINE_S)

    def _remember_callback(self, address: str) -> str:
        parts = urlsplit(address)
        self.last_callback = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return f"{parts.path}?{parts.query}"
