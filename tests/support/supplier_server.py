"""A client under test, a supplier that answers it from a list, and fakes of its token store and permits."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import responses

from worker.clients.endpoints import Endpoints
from worker.clients.oauth import OAuthClient
from worker.clients.supplier import SupplierClient
from worker.clients.supplier_session import SupplierSession, Token
from worker.domain.windows import PARIS

BASE_URL = "http://127.0.0.1:9"
USAGE_POINT = "98765432109876"
SECRETS = ("s3cr3t-of-the-application", "access-token-one", "refresh-token-one", "access-token-two", USAGE_POINT)
NOW = datetime(2024, 7, 25, 9, 20, tzinfo=PARIS)


@dataclass
class FakeTokenStore:
    """A RotatingTokenStore in memory that records its calls in ``events``."""

    token: Token | None = None
    events: list[str] = field(default_factory=list)
    on_lock: Callable[[], None] = lambda: None
    refreshing: bool = False

    def load(self) -> str | None:
        return self.token and self.token.to_text()

    def save(self, token: str, expires_at: int | None) -> None:
        self.events.append("save")
        self.token, self.refreshing = Token.from_text(token), False

    def mark_refresh_sent(self) -> bool:
        was_marked, self.refreshing = self.refreshing, True
        return was_marked

    def clear_refresh_sent(self) -> None:
        self.refreshing = False

    @contextmanager
    def renewal_lock(self) -> Iterator[None]:
        self.events.append("lock")
        self.on_lock()
        yield
        self.events.append("unlock")


@dataclass
class FakePermits:
    """Permits without a limit that record the calls made of them."""

    requested_apis: list[str] = field(default_factory=list)
    closed_for_s: list[float] = field(default_factory=list)
    closed_by: list[str] = field(default_factory=list)
    closed_for: list[str] = field(default_factory=list)
    released: list[str] = field(default_factory=list)

    def take_permit(self, api: str) -> str:
        self.requested_apis.append(api)
        return f"permit {len(self.requested_apis)}"

    def release_permit(self, permit: str) -> None:
        self.released.append(permit)

    def close_gate(self, retry_after_s: float, permit: str, code: str = "") -> None:
        self.closed_for_s.append(retry_after_s)
        self.closed_by.append(permit)
        self.closed_for.append(code)


@dataclass
class ClientHarness:
    """A client of one generation with all its parts, and the supplier that answers it from a list."""

    endpoints: Endpoints
    supplier: responses.RequestsMock
    store: FakeTokenStore
    permits: FakePermits
    oauth: OAuthClient
    session: SupplierSession
    client: SupplierClient
    now: datetime = NOW

    def answer_measures(self, status: int, body: Any = b"", headers: dict[str, str] | None = None) -> None:
        """Add the next answer to a measure request."""
        content = body if isinstance(body, bytes | str) else json.dumps(body)
        for path in set(self.endpoints.preset.paths.values()):
            self.supplier.add(responses.GET, BASE_URL + path, status=status, body=content, headers=headers)

    def answer_token(self, status: int, body: Any = b"") -> None:
        """Add the next answer of the token endpoint."""
        content = body if isinstance(body, bytes | str | Exception) else json.dumps(body)
        self.supplier.add(responses.POST, self.endpoints.token_url, status=status, body=content)

    def calls(self) -> list[str]:
        return [f"{call.request.method} {call.request.path_url.split('?')[0]}" for call in self.supplier.calls]


def three_hours_ahead() -> int:
    return int((datetime.now(PARIS) + timedelta(hours=3)).timestamp())
