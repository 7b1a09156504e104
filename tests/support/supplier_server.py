"""A pretend supplier on canned answers, and what stands around a client."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import responses

from worker.clients.enedis.client import EnedisClient
from worker.clients.enedis.presets import Endpoints
from worker.clients.oauth import OAuthClient
from worker.clients.session import SupplierSession
from worker.clients.tokens import Token
from worker.domain.measures.readings import PARIS

BASE_URL = "http://127.0.0.1:9"
USAGE_POINT = "98765432109876"
SECRETS = ("s3cr3t-of-the-application", "access-token-one", "refresh-token-one", "access-token-two", USAGE_POINT)
NOW = datetime(2024, 7, 25, 9, 20, tzinfo=PARIS)


@dataclass
class FakeVault:
    """A TokenVault in memory that remembers what happened, in order."""

    token: Token | None = None
    events: list[str] = field(default_factory=list)
    on_lock: Callable[[], None] = lambda: None
    refreshing: bool = False

    def load(self) -> Token | None:
        return self.token

    def save(self, token: Token) -> None:
        self.events.append("save")
        self.token, self.refreshing = token, False

    def note_refresh(self) -> bool:
        owed, self.refreshing = self.refreshing, True
        return owed

    def forget_refresh(self) -> None:
        self.refreshing = False

    @contextmanager
    def renewing(self) -> Iterator[None]:
        self.events.append("lock")
        self.on_lock()
        yield
        self.events.append("unlock")


@dataclass
class FakeTurnstile:
    entered: list[str] = field(default_factory=list)
    closed_for_s: list[float] = field(default_factory=list)
    closed_by: list[str] = field(default_factory=list)
    given_back: list[str] = field(default_factory=list)

    def enter(self, api: str) -> str:
        self.entered.append(api)
        return f"permit {len(self.entered)}"

    def give_back(self, permit: str) -> None:
        self.given_back.append(permit)

    def close(self, retry_after_s: float, permit: str) -> None:
        self.closed_for_s.append(retry_after_s)
        self.closed_by.append(permit)


@dataclass
class House:
    """A whole client of one generation, over a supplier that answers from a list."""

    endpoints: Endpoints
    supplier: responses.RequestsMock
    vault: FakeVault
    turnstile: FakeTurnstile
    oauth: OAuthClient
    session: SupplierSession
    client: EnedisClient
    now: datetime = NOW

    def measures(self, status: int, body: Any = b"", headers: dict[str, str] | None = None) -> None:
        """The next answer to a measure request."""
        content = body if isinstance(body, bytes | str) else json.dumps(body)
        for path in set(self.endpoints.preset.paths.values()):
            self.supplier.add(responses.GET, BASE_URL + path, status=status, body=content, headers=headers)

    def tokens(self, status: int, body: Any = b"") -> None:
        """The next answer of the token endpoint."""
        content = body if isinstance(body, bytes | str | Exception) else json.dumps(body)
        self.supplier.add(responses.POST, self.endpoints.token_url, status=status, body=content)

    def calls(self) -> list[str]:
        return [f"{call.request.method} {call.request.path_url.split('?')[0]}" for call in self.supplier.calls]


def far_away() -> int:
    return int((datetime.now(PARIS) + timedelta(hours=3)).timestamp())
