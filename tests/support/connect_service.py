"""The web application for tests of consents, over a simulator, a Redis-protocol server and a registry in a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx2
import pytest
import requests
from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.types import Receive, Scope, Send

from simulator.application import create_app as create_simulator
from simulator.switches import CLIENT_ID, CLIENT_SECRET, SimulatorOptions
from tests.support.factories import NOW
from tests.support.household_pages import csrf_of
from tests.support.installation import KeptParts, new_installation, prepare_installation
from tests.support.parts import Parts
from tests.support.simulators import run_in_background
from tests.support.waiting import DEADLINE_S
from worker.domain.account import Account
from worker.domain.invitation import InvitationPurpose
from worker.web.dependencies import SESSION_COOKIE, Session, cookie_name, load_session, publish_backfills

PUBLIC = "http://testserver"
QUEUE = "releve:celery:control"
NEWEST = "enedis-2026"
PRESETS = [NEWEST, *(pytest.param(name, marks=pytest.mark.other_generation) for name in ("enedis-v4", "enedis-v5"))]
INVITED_PRESETS = [PRESETS[0], PRESETS[2]]  # Those whose proof needs an invitation; in v4 the code is the proof.
METER, OTHER = "30001640000011", "30001640000022"
CREDENTIALS = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


@dataclass
class ConnectService:
    """The application, its parts, its supplier, and a person who consents."""

    parts: Parts
    app: FastAPI
    supplier: str
    hours: int = 0

    def browser(self) -> TestClient:
        """Return a new browser, which follows no redirect by itself."""
        return TestClient(self.app, base_url=PUBLIC, follow_redirects=False)

    def simulate(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.supplier}/__sim__/{path}", json=body, timeout=DEADLINE_S)
        answer.raise_for_status()
        return answer.json()

    def agree(self, page: str) -> str:
        """Consent on the simulator's page. Return the callback as path and query."""
        assert page.startswith(self.supplier)
        answer = requests.get(f"{page}&decision=approve", allow_redirects=False, timeout=DEADLINE_S)
        assert answer.status_code == 302, answer.text
        back = urlsplit(answer.headers["location"])
        return f"{back.path}?{back.query}"

    def invite(self, meter: str = METER, *, new_holder: bool = False) -> str:
        """Return the secret of an invitation: for the meter's account, or for the meter."""
        account = self.parts.stores.registry.accounts.find("enedis", meter)
        if account is not None and not new_holder:
            return self.parts.stores.registry.invitations.create(
                InvitationPurpose.ACCOUNT, "enedis", "cli:test", account_id=account.id
            )[1]
        purpose = InvitationPurpose.NEW_HOLDER if new_holder else InvitationPurpose.METER
        return self.parts.stores.registry.invitations.create(purpose, "enedis", "cli:test", usage_point_id=meter)[1]

    def open_invitation(self, browser: TestClient, secret: str) -> httpx2.Response:
        """Press the button of the invitation's page."""
        page = browser.get("/invitation")
        return browser.post("/invitation", data={"invitation": secret, "csrf": csrf_of(page.text)})

    def begin(self, browser: TestClient, meter: str = METER) -> str:
        """Begin a consent, with an invitation if the generation needs one. Return its callback as path and query."""
        if self.parts.sync.suppliers.main.account_tokens:
            return self.begin_uninvited(browser, meter)
        answer = self.open_invitation(browser, self.invite(meter))
        assert answer.status_code == 303, answer.text
        return self.agree(answer.headers["location"])

    def begin_uninvited(self, browser: TestClient, meter: str = METER) -> str:
        answer = browser.get("/connect/enedis", params={"usage_point_id": meter})
        assert answer.status_code == 303, answer.text
        return self.agree(answer.headers["location"])

    def come_back(self, browser: TestClient, way_back: str) -> httpx2.Response:
        """Load the callback, run the worker's due tasks, and load it again, as the page does by itself."""
        answer = browser.get(way_back)
        if answer.status_code != 202:
            return answer
        self.work()
        return browser.get(way_back)

    def connect(self, browser: TestClient, meter: str = METER) -> httpx2.Response:
        return self.join(browser, self.come_back(browser, self.begin(browser, meter)))

    def join(self, browser: TestClient, answer: httpx2.Response, choice: str = "join") -> httpx2.Response:
        """If the page asks whether a new meter joins those of the browser's session, answer it."""
        offer = answer.text.partition('name="offer" value="')[2].partition('"')[0]
        return browser.post("/connect/join", data={"offer": offer, "choice": choice}) if offer else answer

    def work(self) -> None:
        """Do the worker's task for the due requests, each time an hour later."""
        self.hours += 1
        later = datetime.now(UTC) + timedelta(hours=self.hours)
        connector = replace(self.parts.consent.connector, real_now=lambda: later)
        for request_id in self.parts.consent.requests.list_due(later, 100):
            request = connector.conclude(request_id)
            publish_backfills(self.parts.stores, [account.id for account in request.accounts] if request else [])

    def accounts(self) -> list[Account]:
        return self.parts.stores.registry.accounts.list_accounts()

    def session(self, browser: TestClient) -> Session:
        return load_session(
            self.parts.access, browser.cookies.get(cookie_name(self.parts.stores.settings, SESSION_COOKIE))
        )

    def queued(self) -> int:
        """Return the number of backfills that wait in the queue."""
        return int(self.parts.stores.redis.llen(QUEUE))

    def exchanges(self) -> int:
        """Return the number of tokens that the simulator has issued for codes."""
        return int(self.simulate("GET", "report")["tokens"].get("authorization_code", 0))


class ConnectServers:
    """Servers of all connect services of a session: one Redis, and one address with a simulator, new for each."""

    def __init__(self, redis_url: str) -> None:
        self.redis_url = redis_url
        self.supplier = ""
        self.clear()

    def clear(self, *, consent_page: bool = False) -> None:
        self._simulator = create_simulator(SimulatorOptions(pretend_now=NOW, consent_page=consent_page))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._simulator(scope, receive, send)


@contextmanager
def open_connect_servers(redis_url: str) -> Iterator[ConnectServers]:
    servers = ConnectServers(redis_url)
    with run_in_background(servers) as servers.supplier:
        yield servers


@contextmanager
def open_connect_service(
    servers: ConnectServers, folder: Path, preset: str = NEWEST, *, consent_page: bool = False, **changes: Any
) -> Iterator[ConnectService]:
    servers.clear(consent_page=consent_page)
    with _open_parts(servers, folder, preset, changes) as parts:
        yield ConnectService(parts, parts.create_app(), servers.supplier)


class ConnectServices:
    """Connect services that are opened once for several tests, one for each generation and its settings."""

    def __init__(self, servers: ConnectServers, new_folder: Callable[[], Path]) -> None:
        self._servers, self._new_folder = servers, new_folder
        self._opened = ExitStack()
        self._kept: dict[tuple[str, ...], KeptParts] = {}

    def __enter__(self) -> ConnectServices:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def empty(self, preset: str = NEWEST, **changes: str | None) -> ConnectService:
        """Return a service like a new one, without any other test's data in stores, files, memory or simulator."""
        settings = (preset, *map(str, changes.items()))
        self._servers.clear()
        if settings not in self._kept:
            opening = _open_parts(self._servers, self._new_folder(), preset, changes)
            self._kept[settings] = KeptParts(self._opened.enter_context(opening))
        kept = self._kept[settings]
        kept.empty()
        return ConnectService(kept.parts, kept.parts.create_app(), self._servers.supplier)


@contextmanager
def _open_parts(servers: ConnectServers, folder: Path, preset: str, changes: dict[str, Any]) -> Iterator[Parts]:
    prepare_installation(folder)
    settings = {"enedis_url": servers.supplier, "public_url": PUBLIC, "calls_per_second": "0", "calls_per_hour": "0"}
    with new_installation(folder, servers.redis_url, **settings).open(preset=preset, **changes) as parts:
        parts.stores.redis.flushdb()  # All tests share one server, and call from one address.
        yield parts
        parts.stores.redis.flushdb()


def changed(way_back: str, **query: str | None) -> str:
    """Return the callback with changed parameters; None removes one."""
    path, _, text = way_back.partition("?")
    pairs = {**dict(parse_qsl(text)), **query}
    return f"{path}?{urlencode({name: value for name, value in pairs.items() if value is not None})}"


def query_of(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
