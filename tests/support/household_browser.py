"""A household's browser over real processes: it follows redirects, presses a page's form, and reloads as it is told.

It keeps cookies, so two of them are two persons. It runs no scripts, like a browser that has them turned off.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlencode, urljoin, urlsplit

import requests

from tests.support.household_pages import csrf_of

_LONGEST_S: Final = 30.0
_OF_ONE_ANSWER: Final = ("date", "set-cookie", "content-length")  # These headers differ from answer to answer.


@dataclass(frozen=True)
class Page:
    """Where the browser has come to. ``reloads``: how often the page before it loaded itself again."""

    status: int
    path: str
    text: str
    headers: Mapping[str, str]
    reloads: int = 0

    @property
    def account(self) -> str | None:
        """The id of the account whose page this is, or None."""
        match = re.fullmatch(r"/accounts/([a-z0-9]+)", self.path)
        return match[1] if match and self.status == 200 else None

    @property
    def content(self) -> tuple[int, dict[str, str], str]:
        """All that a person or program could tell two pages apart by."""
        return self.status, dict(self.headers), self.text


class HouseholdBrowser:
    """A browser at the web service ``address``, that goes to the supplier's page at ``supplier`` and back."""

    def __init__(self, address: str, supplier: str, language: str = "en") -> None:
        self.address, self.supplier = address, supplier
        self.last_callback: dict[str, str] = {}
        self._session = requests.Session()
        self._session.trust_env = False  # Other threads of a test may change the environment.
        self._session.headers["Accept-Language"] = language

    def __enter__(self) -> HouseholdBrowser:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def get(self, path: str, token: str = "") -> requests.Response:
        """Load an address of ours, without following where it leads; ``token``: of the API."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return self._session.get(self.address + path, headers=headers, allow_redirects=False, timeout=60)

    def visit(self, path: str) -> Page:
        """Load an address of ours, follow where it leads, and reload while the page says so."""
        return self.follow(self.get(path))

    def submit(self, path: str, **fields: str) -> requests.Response:
        return self._session.post(self.address + path, fields, allow_redirects=False, timeout=60)

    def upload(self, path: str, proof: tuple[str, bytes], **fields: str) -> requests.Response:
        """Send a form with a file, by its name and content."""
        return self._session.post(
            self.address + path, fields, files={"proof": proof}, allow_redirects=False, timeout=60
        )

    def press(self, page: Page, action: str) -> requests.Response:
        """Press the button of the page's form that goes to ``action``, with its hidden fields."""
        form = re.search(rf'<form[^>]*action="{re.escape(action)}".*?</form>', page.text, re.DOTALL)
        assert form, f"no form leads to {action}: {page.text[-1500:]}"
        hidden = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', form[0])
        return self.submit(action, **dict(hidden))

    # -- Consents

    def connect(self, meter: str | None = None) -> Page:
        """Connect without an invitation; the simulator's holder agrees for ``meter``, or for one of its own."""
        return self.visit(f"/connect/enedis?usage_point_id={meter}" if meter else "/connect/enedis")

    def begin(self, path: str = "/connect/enedis") -> str:
        """Begin a consent and return its state, without going to the supplier."""
        return self.state_of(self.get(path))

    @staticmethod
    def state_of(answer: requests.Response) -> str:
        """Return the state in an answer that leads to the supplier's page."""
        assert answer.status_code == 303, f"{answer.status_code} {answer.text[-800:]}"
        return parse_qs(urlsplit(answer.headers["Location"]).query)["state"][0]

    def agree(self, path: str, **chosen: str) -> str:
        """Begin a consent, agree on the supplier's page, and return the callback's path without loading it.

        ``chosen``: what the simulator's holder chooses on its page, like ``usage_point_id``.
        """
        return self.agree_on(self.get(path), **chosen)

    def agree_on(self, answer: requests.Response, **chosen: str) -> str:
        """Do the same from an answer that leads to the supplier's page."""
        supplier = answer.headers["Location"]
        page = self._session.get(supplier, params=chosen, allow_redirects=False, timeout=60)
        return self._remember_callback(page.headers["Location"])

    def type_callback(self, **query: str) -> Page:
        """Begin a consent, and load a callback that was typed by hand instead of going to the supplier."""
        return self.visit(self.callback(self.begin(), **query))

    def load_callback(self, **query: str) -> requests.Response:
        """Do the same without following where it leads; give back the refusal where no consent can be begun now."""
        page = self.get("/connect/enedis")
        return self.get(self.callback(self.state_of(page), **query)) if page.is_redirect else page

    @staticmethod
    def callback(state: str, **query: str) -> str:
        return f"/callback/enedis?{urlencode({'state': state, **query})}"

    def open_invitation(self, link: str) -> requests.Response:
        """Load the page of the link, as with a click, and press its button. What stands behind # stays here."""
        page_address, _, secret = link.partition("#")
        page = self._session.get(page_address, allow_redirects=False, timeout=60)
        assert page.status_code == 200, f"{page.status_code} {page.text[-800:]}"
        assert secret and secret not in page.text
        return self.submit("/invitation", invitation=secret, csrf=csrf_of(page.text))

    def accept_invitation(self, link: str) -> Page:
        """Open an invitation, agree on the supplier's page, and come back."""
        return self.follow(self.open_invitation(link))

    # -- What it sees

    def can_see(self, account: str) -> bool:
        """Return whether account page and measures are open to it; they must agree."""
        statuses = [
            self.get(path).status_code for path in (f"/accounts/{account}", f"/api/accounts/{account}/measures")
        ]
        assert statuses in ([200, 200], [404, 404], [404, 401]), statuses
        return statuses == [200, 200]

    def days(self, account: str) -> dict[str, float]:
        """Return the kWh of each stored day, as the API tells them to this browser."""
        page = self.get(f"/api/accounts/{account}/measures?by=day&limit=5000")
        assert page.status_code == 200, page.text
        rows = page.json()["documents"]
        return {f"{row['year']}-{row['month']:02}-{row['day']:02}": row["load"] for row in rows}

    def follow(self, answer: requests.Response) -> Page:
        """Follow where an answer leads, and reload while the page says so."""
        deadline, reloads = time.monotonic() + _LONGEST_S, 0
        while True:
            if answer.is_redirect:
                target = urljoin(answer.url, answer.headers["Location"])
                if urlsplit(target).path.startswith(("/callback/", "/proxy/")):
                    self._remember_callback(target)
            elif "Refresh" in answer.headers and time.monotonic() < deadline:
                time.sleep(min(float(answer.headers["Refresh"]), max(0.0, deadline - time.monotonic())))
                target, reloads = answer.url, reloads + 1
            else:
                return self._page(answer, reloads)
            answer = self._session.get(target, allow_redirects=False, timeout=60)

    def _page(self, answer: requests.Response, reloads: int) -> Page:
        headers = {name.lower(): value for name, value in answer.headers.items()}
        kept = {name: value for name, value in headers.items() if name not in _OF_ONE_ANSWER}
        return Page(answer.status_code, urlsplit(answer.url).path, answer.text, kept, reloads)

    def _remember_callback(self, address: str) -> str:
        parts = urlsplit(address)
        self.last_callback = {name: values[0] for name, values in parse_qs(parts.query).items()}
        return f"{parts.path}?{parts.query}"
