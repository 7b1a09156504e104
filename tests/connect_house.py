"""The connect service over a real simulator, a real Redis-protocol server and a registry in a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlencode, urlsplit

import httpx2
import requests
from fastapi import FastAPI
from fastapi.testclient import TestClient

from config.settings import Settings
from tests.factories import NOW
from worker.domain.accounts import Account
from worker.runtime import Runtime, session_key_from
from worker.simulator.options import CLIENT_ID, CLIENT_SECRET, SimulatorOptions
from worker.simulator.server import serve_in_background
from worker.web import connect, proxy
from worker.web.app import create_app
from worker.web.sessions import SESSION_COOKIE, Session

PUBLIC = "http://testserver"
QUEUE = "releve:celery:control"
PRESETS = ("enedis-v4", "enedis-v5", "enedis-2026")
METER, OTHER = "30001640000011", "30001640000022"
CREDENTIALS = {"client_id": CLIENT_ID, "client_secret": CLIENT_SECRET}


@dataclass
class ConnectHouse:
    runtime: Runtime
    app: FastAPI
    supplier: str

    def browser(self) -> TestClient:
        """A browser of its own, which follows no redirect by itself."""
        return TestClient(self.app, base_url=PUBLIC, follow_redirects=False)

    def simulate(self, method: str, path: str, body: Any = None) -> Any:
        answer = requests.request(method, f"{self.supplier}/__sim__/{path}", json=body, timeout=10)
        answer.raise_for_status()
        return answer.json()

    def agree(self, page: str) -> str:
        """The person's part: the simulator's page, and the way back as path and query."""
        assert page.startswith(self.supplier)
        answer = requests.get(page, allow_redirects=False, timeout=10)
        assert answer.status_code == 302, answer.text
        back = urlsplit(answer.headers["location"])
        return f"{back.path}?{back.query}"

    def begin(self, browser: TestClient, path: str = f"/connect/enedis?usage_point_id={METER}") -> str:
        """The way back of a consent that this browser has begun."""
        answer = browser.get(path)
        assert answer.status_code == 303, answer.text
        return self.agree(answer.headers["location"])

    def connect(self, browser: TestClient, path: str = f"/connect/enedis?usage_point_id={METER}") -> httpx2.Response:
        return browser.get(self.begin(browser, path))

    def accounts(self) -> list[Account]:
        return self.runtime.registry.list()

    def session(self, browser: TestClient) -> Session:
        return self.app.state.house.signer.session(browser.cookies.get(SESSION_COOKIE))

    def queued(self) -> int:
        """Backfills that wait in the queue."""
        return int(self.runtime.redis.llen(QUEUE))

    def exchanges(self) -> int:
        """Tokens that the simulator gave out for codes."""
        return int(self.simulate("GET", "report")["tokens"].get("authorization_code", 0))


@contextmanager
def connect_house(redis_url: str, folder: Path, preset: str, **changes: Any) -> Iterator[ConnectHouse]:
    with ExitStack() as opened:
        supplier = opened.enter_context(serve_in_background(SimulatorOptions(pretend_now=NOW)))
        settings = Settings(
            _env_file=None,
            preset=preset,
            data_dir=folder,
            redis_url=redis_url,
            enedis_url=supplier,
            public_url=PUBLIC,
            pretend_now=NOW,
            calls_per_second=0,
            calls_per_hour=0,
            **changes,
        )
        runtime = opened.enter_context(Runtime(settings))
        _empty(runtime)
        app = create_app(runtime, session_key_from(settings))
        known = {getattr(route, "path", "") for route in app.routes}
        for part in (connect, proxy):
            if not known & {getattr(route, "path", "") for route in part.router.routes}:
                app.include_router(part.router)
        yield ConnectHouse(runtime, app, supplier)
        _empty(runtime)


def _empty(runtime: Runtime) -> None:
    """All tests share one server, and call from one address."""
    for key in runtime.redis.scan_iter("releve:*"):
        runtime.redis.delete(key)


def changed(way_back: str, **query: str | None) -> str:
    """The same way back with other parameters; None takes one away."""
    path, _, told = way_back.partition("?")
    pairs = {**dict(parse_qsl(told)), **query}
    return f"{path}?{urlencode({name: value for name, value in pairs.items() if value is not None})}"


def query_of(address: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
