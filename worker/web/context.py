"""The context of every route: runtime and signer, the browser's session, and the cookie of a browser in a consent.

``app.state.context`` holds it. Routes get it by ``ContextDep`` and ``SessionDep``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final

from fastapi import Depends, Request, Response

from worker.app import enqueue_backfill
from worker.domain.consent.accounts import Account
from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.runtime.process import Runtime
from worker.stores.redis.consent_flows import LIFE_S
from worker.web.sessions import SESSION_COOKIE, SESSION_LIFE, Session, SessionSigner

log = logging.getLogger("releve.web")

BROWSER_COOKIE: Final = "releve_connect"
_BROWSER: Final = "browser"  # The kind of the signed value in this cookie.


@dataclass(frozen=True)
class ServiceContext:
    """Runtime and session signer, shared by all requests of one application."""

    runtime: Runtime
    signer: SessionSigner

    @property
    def secure(self) -> bool:
        """Whether browsers come over https, so that cookies may insist on it."""
        return self.runtime.settings.public_url.startswith("https://")

    def set_cookie(self, response: Response, name: str, value: str, max_age_s: int, path: str = "/") -> None:
        """Set a cookie that scripts can't read and that other sites send along with a plain link alone."""
        response.set_cookie(
            name, value, max_age=max_age_s, path=path, secure=self.secure, httponly=True, samesite="lax"
        )

    def set_session_cookie(self, response: Response, session: Session) -> None:
        value = self.signer.sign_session(session)
        self.set_cookie(response, SESSION_COOKIE, value, int(SESSION_LIFE.total_seconds()))


def get_context(request: Request) -> ServiceContext:
    context: ServiceContext = request.app.state.context
    return context


def get_session(request: Request) -> Session:
    return get_context(request).signer.read_session(request.cookies.get(SESSION_COOKIE))


ContextDep = Annotated[ServiceContext, Depends(get_context)]
SessionDep = Annotated[Session, Depends(get_session)]


def read_browser_id(context: ServiceContext, request: Request) -> str | None:
    """Return the id in the browser's cookie, or None for a browser that has begun no consent lately.

    Only the browser that began a consent may end it.
    """
    claims = context.signer.read(_BROWSER, request.cookies.get(BROWSER_COOKIE))
    name = claims.get("name") if claims else None
    return name if isinstance(name, str) and name else None


def set_browser_cookie(context: ServiceContext, response: Response, browser_id: str) -> None:
    """Set the cookie with the browser's id. Several consents at once, in several tabs, share it."""
    value = context.signer.sign(_BROWSER, {"name": browser_id}, timedelta(seconds=LIFE_S))
    context.set_cookie(response, BROWSER_COOKIE, value, LIFE_S)


def publish_backfill(runtime: Runtime, account: Account) -> None:
    """Publish the backfill after the commit. A lost message does no harm: the reconciler finds the account."""
    try:
        if account.active:
            enqueue_backfill(account.id, broker_url=runtime.broker_url)
    except StoreUnavailable as error:
        log.warning("backfill not published", extra=fields(account_id=account.id, reason=str(error)))
