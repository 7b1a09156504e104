"""What every route needs, put on ``app.state.house`` once; routes reach it by the dependencies below."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final

from fastapi import Depends, Request, Response

from worker.runtime.process import Runtime
from worker.stores.redis.consent_flows import LIFE_S
from worker.web.sessions import SESSION_COOKIE, SESSION_LIFE, Session, SessionSigner


@dataclass(frozen=True)
class ServiceContext:
    runtime: Runtime
    signer: SessionSigner

    @property
    def secure(self) -> bool:
        """Whether browsers come over https, so that cookies may insist on it."""
        return self.runtime.settings.public_url.startswith("https://")

    def set_cookie(self, response: Response, name: str, value: str, max_age_s: int, path: str = "/") -> None:
        """Out of reach of scripts, and not sent along from other sites but by a plain link."""
        response.set_cookie(
            name, value, max_age=max_age_s, path=path, secure=self.secure, httponly=True, samesite="lax"
        )

    def remember(self, response: Response, session: Session) -> None:
        self.set_cookie(response, SESSION_COOKIE, self.signer.cookie(session), int(SESSION_LIFE.total_seconds()))


def get_context(request: Request) -> ServiceContext:
    house: ServiceContext = request.app.state.house
    return house


def get_session(request: Request) -> Session:
    return get_context(request).signer.session(request.cookies.get(SESSION_COOKIE))


ContextDep = Annotated[ServiceContext, Depends(get_context)]
SessionDep = Annotated[Session, Depends(get_session)]


# Which browser began a consent, so that nobody else can end it.

COOKIE: Final = "releve_connect"
_KIND: Final = "browser"


def browser_of(house: ServiceContext, request: Request) -> str | None:
    """The browser's name, or None where it has begun nothing lately."""
    claims = house.signer.read(_KIND, request.cookies.get(COOKIE))
    name = claims.get("name") if claims else None
    return name if isinstance(name, str) and name else None


def new_browser() -> str:
    return secrets.token_urlsafe(24)


def mark(house: ServiceContext, response: Response, name: str) -> None:
    """Let the browser remember its name; several consents at once, in several tabs, share it."""
    house.set_cookie(response, COOKIE, house.signer.sign(_KIND, {"name": name}, timedelta(seconds=LIFE_S)), LIFE_S)
