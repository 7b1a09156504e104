"""Operators for tests: created through their table, and signed in on the page or by a prepared session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

import pyotp
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx2 import Response

from tests.support.household_pages import csrf_of
from tests.support.parts import Parts
from worker.domain.clock import Clock
from worker.domain.sessions import KeyKind, Role, new_totp_key
from worker.stores.registry.access_keys import AccessKeyTable, OperatorTable
from worker.web.api.callers import CSRF_HEADER
from worker.web.dependencies import OPERATOR_COOKIE

PASSWORD: Final = "marmotte vapeur tuile 12"
NAME: Final = "alice"
ENGLISH: Final = {"Accept-Language": "en"}
ELSEWHERE: Final = "198.51.100.7"


@dataclass(frozen=True)
class TestOperator:
    """An operator with its secrets; ``key`` is that of the authenticator app."""

    __test__ = False  # It is no test.
    id: str
    name: str
    password: str
    key: str | None

    def code(self, now: datetime) -> str:
        assert self.key
        return pyotp.TOTP(self.key).at(now)


def add_operator(
    parts: Parts,
    name: str = NAME,
    password: str = PASSWORD,
    *,
    second_factor: bool = True,
    role: Role = Role.ADMIN,
) -> TestOperator:
    key = new_totp_key() if second_factor else None
    operator = parts.access.operators.add(name, password, key, role=role)
    return TestOperator(operator.id, operator.name, password, key)


def set_clock(parts: Parts, now: Clock) -> None:
    """Let sessions, links and codes use another clock."""
    access, database = parts.access, parts.stores.registry.database
    # Replaced in place, because the application already refers to this object.
    object.__setattr__(access, "keys", AccessKeyTable(database, access.sealer, now))
    object.__setattr__(access, "operators", OperatorTable(database, access.sealer, now))


def browser_at(app: FastAPI, address: str = ELSEWHERE) -> TestClient:
    """Return a browser at an IP address; one on 127.0.0.1 also calls the service by this address."""
    host = "127.0.0.1:8000" if address == "127.0.0.1" else "testserver"
    return TestClient(app, f"http://{host}", client=(address, 50_000), headers=ENGLISH)


def sign_in(browser: TestClient, password: str, code: str = "", name: str = NAME) -> Response:
    csrf = csrf_of(browser.get("/operator").text)
    form = {"csrf": csrf, "name": name, "password": password, "code": code}
    return browser.post("/operator/login", data=form, follow_redirects=False)


def is_in(browser: TestClient) -> bool:
    return "/operator/logout" in browser.get("/operator").text


def signed_in(
    app: FastAPI, parts: Parts, name: str = NAME, address: str = ELSEWHERE, *, role: Role = Role.ADMIN
) -> TestClient:
    """Return a browser with a session of the operator, who is created if necessary.

    Its header CSRF_HEADER has the value of the hidden field in its page's forms.
    """
    access = parts.access
    known = {operator.name: operator.id for operator in access.operators.list_operators()}
    operator_id = known.get(name) or add_operator(parts, name, role=role).id
    key, text = access.keys.create(KeyKind.OPERATOR_SESSION, operator_id, device="Firefox, Linux")
    browser = browser_at(app, address)
    browser.cookies.set(OPERATOR_COOKIE, text)
    browser.headers[CSRF_HEADER] = access.signer.csrf_token(key.id)
    return browser
