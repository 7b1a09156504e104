"""Who calls, and what they may: a client by its bearer token, a household by its browser session, else nobody.

A client's scopes hold for all accounts.  A household reads and removes the accounts of its session, and for it no
other exists.  Refused by default: a route opens only by what it asks for here.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from worker.domain.consent.scopes import Scope
from worker.logs import fields
from worker.web.api.errors import ApiError, no_such_account
from worker.web.context import ContextDep, ServiceContext
from worker.web.rate_limit import Limiter, Rate, address_of
from worker.web.sessions import SESSION_COOKIE, Session

log = logging.getLogger("releve.api")

REALM: Final = 'Bearer realm="releve"'
CSRF_HEADER: Final = "X-CSRF-Token"
_HOUSEHOLD: Final = frozenset({Scope.READ_ACCOUNTS, Scope.READ_MEASURES})

# A secret of 256 bits can't be found by trying; this keeps those who try anyway from costing us anything.
BAD_TOKENS: Final = Rate("bad-token", calls=10, window_s=300)
STRANGERS: Final = Rate("stranger", calls=60)  # calls without any token or session, by address

# Described for the OpenAPI page; what they say is read below, so that each refusal has its reason.
_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="`releve tokens new` makes one.")
_cookie = APIKeyCookie(
    name=SESSION_COOKIE,
    auto_error=False,
    scheme_name="session",
    description="A household's browser, after it connected its meter: its own accounts alone.",
)
_csrf = APIKeyHeader(
    name=CSRF_HEADER,
    auto_error=False,
    scheme_name="csrf",
    description="With a session, on calls that change something: the value of the page's hidden field `csrf`.",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """``session`` is None for a client with a token."""

    scopes: frozenset[str]
    session: Session | None = None

    def check_sees(self, account_id: str) -> None:
        """Raises ApiError 404 where the account is another household's: that it exists is nobody's business."""
        if self.session is not None and account_id not in self.session.accounts:
            raise no_such_account()


def _identify(
    request: Request, house: ContextDep, _: Annotated[object, Depends(_bearer)], __: Annotated[object, Depends(_cookie)]
) -> Caller:
    """Raises ApiError 401 or 429."""
    limiter, address = Limiter(house.runtime.redis), address_of(request)
    if authorization := request.headers.get("Authorization"):
        return _identify_client(house, limiter, address, authorization)
    session = house.signer.session(request.cookies.get(SESSION_COOKIE))
    if not session.accounts:
        _count(limiter, STRANGERS, address)
        raise _unauthorized("send a token as `Authorization: Bearer …`, never in the address; or connect a meter")
    _count(limiter, _usual_rate(house), f"session:{session.sid}")
    return Caller(_HOUSEHOLD, session)


def _identify_client(house: ServiceContext, limiter: Limiter, address: str, authorization: str) -> Caller:
    """An address that sent too many bad tokens isn't even listened to: a right guess would not be seen."""
    if wait_s := limiter.closed_for_s(BAD_TOKENS, address):
        raise _too_many(wait_s)
    scheme, text = get_authorization_scheme_param(authorization)
    token = house.runtime.api_tokens.find(text.strip()) if scheme.lower() == "bearer" else None
    if token is None:
        limiter.wait_s(BAD_TOKENS, address)
        blocked = limiter.closed_for_s(BAD_TOKENS, address) > 0
        log.warning("api token refused", extra=fields(address=address, blocked=blocked))  # never what was sent
        raise _unauthorized("this token is unknown, revoked or expired", ', error="invalid_token"')
    _count(limiter, _usual_rate(house), f"token:{token.id}")
    return Caller(token.scopes)


CallerDep = Annotated[Caller, Depends(_identify)]


def needs(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """A dependency: the caller, if it has the scope.  Raises ApiError 403."""

    async def check(caller: CallerDep) -> Caller:  # async: it waits for nothing, and so needs no thread
        _check_scope(caller, scope)
        return caller

    return check


async def may_remove(
    request: Request, house: ContextDep, caller: CallerDep, _: Annotated[object, Depends(_csrf)]
) -> Caller:
    """A client that may write, or a household's own page: another site's form or script can't send the header."""
    if caller.session is None:
        _check_scope(caller, Scope.WRITE_ACCOUNTS)
    elif not house.signer.csrf_holds(caller.session.sid, request.headers.get(CSRF_HEADER)):
        raise ApiError(403, "csrf_needed", f"send the page's csrf value in the header {CSRF_HEADER}", _challenge())
    return caller


def _check_scope(caller: Caller, scope: Scope) -> None:
    if scope not in caller.scopes:
        extra = f', error="insufficient_scope", scope="{scope}"'
        raise ApiError(403, "scope_needed", f"this needs a token with the scope {scope}", _challenge(extra))


def _usual_rate(house: ServiceContext) -> Rate:
    return Rate("api", house.runtime.settings.api_calls_per_minute)


def _count(limiter: Limiter, rate: Rate, subject: str) -> None:
    if wait_s := limiter.wait_s(rate, subject):
        raise _too_many(wait_s)


def _too_many(wait_s: int) -> ApiError:
    return ApiError(429, "too_many_requests", f"too many calls: try again in {wait_s} s", {"Retry-After": str(wait_s)})


def _unauthorized(message: str, extra: str = "") -> ApiError:
    return ApiError(401, "unauthorized", message, _challenge(extra))


def _challenge(extra: str = "") -> dict[str, str]:
    return {"WWW-Authenticate": REALM + extra}


ReadAccounts = Annotated[Caller, Depends(needs(Scope.READ_ACCOUNTS))]
ReadMeasures = Annotated[Caller, Depends(needs(Scope.READ_MEASURES))]
WriteAccounts = Annotated[Caller, Depends(needs(Scope.WRITE_ACCOUNTS))]
MayRemove = Annotated[Caller, Depends(may_remove)]
