"""Which browser began a consent, so that nobody else can end it.

A random name in a signed cookie; it says nothing about the person and is forgotten after a quarter of an hour.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Final

from fastapi import Request, Response

from worker.stores.redis.consent_flows import LIFE_S
from worker.web.context import House

COOKIE: Final = "releve_connect"
_KIND: Final = "browser"


def browser_of(house: House, request: Request) -> str | None:
    """The browser's name, or None where it has begun nothing lately."""
    claims = house.signer.read(_KIND, request.cookies.get(COOKIE))
    name = claims.get("name") if claims else None
    return name if isinstance(name, str) and name else None


def new_browser() -> str:
    return secrets.token_urlsafe(24)


def mark(house: House, response: Response, name: str) -> None:
    """Let the browser remember its name; several consents at once, in several tabs, share it."""
    house.set_cookie(response, COOKIE, house.signer.sign(_KIND, {"name": name}, timedelta(seconds=LIFE_S)), LIFE_S)
