"""The API for tests, with all its parts: a Redis-protocol server, and registry and measures in files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from tests.support.factories import NOW
from tests.support.installation import KeptParts, new_installation, prepare_installation
from tests.support.parts import Parts
from worker.domain.account import DEFAULT_TENANT
from worker.domain.documents import Entry, period_key, to_document
from worker.domain.series import Doctype
from worker.domain.sessions import Scope
from worker.domain.windows import local_midnight
from worker.web.api.callers import CSRF_HEADER
from worker.web.dependencies import SESSION_COOKIE, Session, open_session

TODAY = date(2024, 7, 25)


def sign_in(parts: Parts, *account_ids: str) -> tuple[str, str]:
    """Open a session of a new household with these accounts; return the text of its cookie, and its CSRF value."""
    accounts = parts.stores.registry.accounts.get_many(account_ids)
    own = [accounts[account_id] for account_id in account_ids if account_id in accounts]
    session, text = open_session(parts.access, Session(), own, "Firefox, Linux")
    return text, parts.access.signer.csrf_token(session.sid)


@dataclass
class ApiService:
    """The application, its parts, and clients of each kind."""

    parts: Parts
    app: FastAPI

    def add(self, number: int = 11, tenant: str = DEFAULT_TENANT) -> str:
        meter = f"30001640{number:06}"
        account, _ = self.parts.stores.registry.accounts.add("enedis", meter, NOW, token_needed=False, tenant=tenant)
        return account.id

    def token(self, *scopes: Scope, expires_in: timedelta | None = None, tenant: str = DEFAULT_TENANT) -> str:
        return self.parts.stores.registry.api_tokens.create("test", scopes or tuple(Scope), expires_in, tenant=tenant)[
            1
        ]

    def stranger(self) -> TestClient:
        return TestClient(self.app)

    def client(self, *scopes: Scope, tenant: str = DEFAULT_TENANT) -> TestClient:
        """Return a client with a token."""
        return TestClient(self.app, headers={"Authorization": f"Bearer {self.token(*scopes, tenant=tenant)}"})

    def browser(self, *account_ids: str) -> TestClient:
        """Return a household's browser, with the CSRF value of its pages in the headers."""
        text, csrf = sign_in(self.parts, *account_ids)
        return TestClient(self.app, cookies={SESSION_COOKIE: text}, headers={CSRF_HEADER: csrf})

    def forget_limits(self) -> None:
        """Delete the counts of calls, because all tests call from one address."""
        for key in self.parts.stores.redis.scan_iter("releve:limit:*"):
            self.parts.stores.redis.delete(key)

    def store_days(self, account_id: str, first: date, watt_hours: list[int]) -> None:
        days = [local_midnight(first + timedelta(days=number)) for number in range(len(watt_hours))]
        self._store(account_id, Doctype.DAY, dict(zip(days, watt_hours, strict=True)))

    def store_half_hours(self, account_id: str, day: date, watt_hours: list[int]) -> None:
        start = local_midnight(day).astimezone(NOW.tzinfo)
        starts = [start + timedelta(minutes=30 * number) for number in range(len(watt_hours))]
        self._store(account_id, Doctype.MINUTE, dict(zip(starts, watt_hours, strict=True)))

    def _store(self, account_id: str, period: Doctype, watt_hours: dict[Any, int]) -> None:
        entries = [Entry(period_key(start, period), energy * 1000) for start, energy in watt_hours.items()]
        documents = [to_document(account_id, period, entry, NOW) for entry in entries]
        assert self.parts.stores.measures.write({period: documents}) == {period: []}


@contextmanager
def open_api_service(redis_url: str, folder: Path, **changes: Any) -> Iterator[ApiService]:
    """Open a service in the empty ``folder``; data of an earlier one in Redis is deleted."""
    with _open_parts(redis_url, folder, changes) as parts:
        yield ApiService(parts, parts.create_app())


class ApiServices:
    """The services of several tests, one after the other, over one runtime."""

    def __init__(self, parts: Parts) -> None:
        self._kept = KeptParts(parts)

    def new(self) -> ApiService:
        """Return a service without any data of earlier ones."""
        self._kept.empty()
        return ApiService(self._kept.parts, self._kept.parts.create_app())


@contextmanager
def open_api_services(redis_url: str, folder: Path, **changes: Any) -> Iterator[ApiServices]:
    with _open_parts(redis_url, folder, changes) as parts:
        yield ApiServices(parts)


@contextmanager
def open_services_once(redis_url: str, new_folder: Callable[[], Path]) -> Iterator[Callable[..., ApiServices]]:
    """Yield a function that returns the services with some settings, opened at their first use."""
    with ExitStack() as opened:

        @cache
        def services_with(**settings: str) -> ApiServices:
            return opened.enter_context(open_api_services(redis_url, new_folder(), **settings))

        yield services_with


@contextmanager
def _open_parts(redis_url: str, folder: Path, changes: dict[str, Any]) -> Iterator[Parts]:
    prepare_installation(folder)
    with new_installation(folder, redis_url).open(**changes) as parts:
        parts.stores.redis.flushdb()
        yield parts
        parts.stores.redis.flushdb()
