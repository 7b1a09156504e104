"""Authentication and authorization of API calls: clients by bearer token, households by browser session.

A client's scopes apply to the accounts and invitations of its token's tenant; a household reads, stops and removes the
accounts of its session. Any other account is refused as unknown. Only ``Caller`` decides what a caller may see, and
routes load and list only through ``Caller``. Calls are refused by default: each route names the dependency from this
module that admits its callers.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final

from fastapi import Depends, Request
from fastapi.security import APIKeyCookie, APIKeyHeader, HTTPBearer
from fastapi.security.utils import get_authorization_scheme_param

from config.settings import Settings
from worker.domain.account import DEFAULT_TENANT, Account
from worker.domain.audit_entry import ActorKind
from worker.domain.sessions import Scope
from worker.errors import UnknownAccount
from worker.logs import fields
from worker.runtime.web_access import WebAccess
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.registry import Registry
from worker.web import dependencies
from worker.web.error_pages import HttpRefusal
from worker.web.request_audit import note_actor

log = logging.getLogger("releve.api")
CSRF_HEADER: Final = "X-CSRF-Token"
_HOUSEHOLD_SCOPES: Final = frozenset({Scope.READ_ACCOUNTS, Scope.READ_MEASURES})
# A secret of 256 bits can't be guessed. These limits only make attempts visible in the log, and keep their cost low.
# They never block a caller that has the right secret.
BAD_TOKENS: Final = Rate("bad-token", calls=10, window_s=300)  # Counted by address.
BAD_TOKENS_OF_ID: Final = Rate("bad-token-id", calls=50, window_s=300)  # Counted by the id in the bad token.
ANONYMOUS_CALLS: Final = Rate("stranger", calls=60)  # Calls without a token or session, counted by address.
# These three only describe the API for OpenAPI. Our own code reads the headers, so that each refusal has its reason.
_bearer = HTTPBearer(auto_error=False, scheme_name="token", description="Create one with `releve access add-token`.")
_cookie = APIKeyCookie(
    name=dependencies.SESSION_COOKIE,
    auto_error=False,
    scheme_name="session",
    description="Session of a household's browser that has connected a meter. It can only access its own accounts.",
)
_csrf = APIKeyHeader(
    name=CSRF_HEADER,
    auto_error=False,
    scheme_name="csrf",
    description="For changes with a session: the value of the page's hidden field `csrf`.",
)


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated caller: a household with a ``session``, or a client with the token of ``token_id``.

    ``tenant``: the owner of the client's token.
    """

    scopes: frozenset[str]
    session: dependencies.Session | None = None
    token_id: str | None = None
    tenant: str = DEFAULT_TENANT

    def load_account(self, registry: Registry, account_id: str, *, include_removed: bool = False) -> Account:
        """Return an account that the caller may see. Raises UnknownAccount for others, as if they did not exist."""
        if self.session is not None and account_id not in self.session.accounts:
            raise UnknownAccount("not an account of this session")
        account = (registry.accounts.get if include_removed else registry.accounts.get_existing)(account_id)
        is_own = account.tenant == self.tenant if self.session is None else self.session.shows(account)
        if not is_own:
            raise UnknownAccount("not an account of this caller")
        return account

    def reload_account(self, registry: Registry, access: WebAccess, account_id: str) -> Account:
        """Return an account shown to the caller earlier, if the caller may still see the account.

        Streams use this method, because it counts no call and records no visit. Raises UnknownAccount if the account
        was removed, and HttpRefusal 401 if the token or session has ended or no longer gives access to the account.
        """
        account = registry.accounts.get_existing(account_id)
        if self.session is None:
            still_sees = registry.api_tokens.is_open(self.token_id or "") and account.tenant == self.tenant
        else:
            session = dependencies.reload_session(access, self.session)
            still_sees = session is not None and session.shows(account)
        if not still_sees:
            raise _unauthorized("this token or session has ended", ', error="invalid_token"')
        return account


def _identify(
    visit: dependencies.VisitDep, _: Annotated[object, Depends(_bearer)], __: Annotated[object, Depends(_cookie)]
) -> Caller:
    """Return the caller and count the call. Raises HttpRefusal 401 or 429."""
    if authorization := visit.request.headers.get("Authorization"):
        caller = _identify_client(visit, authorization)
        note_actor(visit.request, ActorKind.TOKEN, str(caller.token_id), caller.tenant)
        return caller
    if not visit.session.accounts:
        _count_call(visit, ANONYMOUS_CALLS, visit.address)
        raise _unauthorized("send a token as `Authorization: Bearer …`, never in the URL; or connect a meter")
    return count_household(visit)


def count_household(visit: dependencies.Visit) -> Caller:
    """Count a household's call, and return the household as a caller. Raises HttpRefusal 429."""
    _count_call(visit, _api_rate(visit.settings), f"session:{visit.session.sid}")
    return Caller(_HOUSEHOLD_SCOPES, visit.session)


def _identify_client(visit: dependencies.Visit, authorization: str) -> Caller:
    """Return the client of a bearer token. Raises HttpRefusal 401, or 429 after too many calls or bad tokens.

    A valid token is accepted before bad tokens are counted, so other people's attempts from the client's address, or
    with the token's id, can't lock the client out.
    """
    scheme, text = get_authorization_scheme_param(authorization)
    text = text.strip() if scheme.lower() == "bearer" else ""
    token = visit.registry.api_tokens.find(text)
    if token is None:
        _count_bad_token(visit, text)
        raise _unauthorized("this token is unknown, revoked or expired", ', error="invalid_token"')
    _count_call(visit, _api_rate(visit.settings), f"token:{token.id}")
    dependencies.note_visit(visit.request, token.id, partial(visit.registry.api_tokens.record_use, token))
    return Caller(token.scopes, token_id=token.id, tenant=token.tenant)


def _count_bad_token(visit: dependencies.Visit, text: str) -> None:
    """Count a bad token by the caller's address and, if the text contains the id of an existing token, by this id.

    Raises HttpRefusal 429.
    """
    subjects = [(BAD_TOKENS, visit.address)]
    # Only ids of existing tokens are counted, because made-up ids would fill Redis.
    if (token_id := visit.registry.api_tokens.find_named(text)) is not None:
        subjects.append((BAD_TOKENS_OF_ID, token_id))
    for rate, subject in subjects:
        if wait_s := visit.count_call(rate, subject):
            raise _too_many_requests(wait_s)
    limiter = RateLimiter(visit.stores.redis)
    blocked = any(limiter.closed_for_s(rate, subject) for rate, subject in subjects)
    # The token itself is never logged. Beyond the limit nothing is logged, so that the log doesn't grow with the
    # attempts.
    log.warning("api token refused", extra=fields(address=visit.address, token=token_id, blocked=blocked))


CallerDep = Annotated[Caller, Depends(_identify)]


def require_scope(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that returns the caller, and raises HttpRefusal 403 if the caller lacks the scope."""

    # FastAPI would run a function without async in a thread, which this function doesn't need.
    async def check(caller: CallerDep) -> Caller:
        _check_scope(caller, scope)
        return caller

    return check


async def check_reading_client(caller: CallerDep) -> Caller:
    """Return a client that may read accounts; refuse a household's session. Raises HttpRefusal 403."""
    _check_scope(caller, Scope.READ_ACCOUNTS)
    if caller.session is not None:
        raise HttpRefusal(
            403, "token_needed", "this needs a token: a session can only access its own accounts", _challenge()
        )
    return caller


def require_scope_or_page(scope: Scope) -> Callable[..., Awaitable[Caller]]:
    """Return a dependency that returns a client with the scope, or a household that calls from its own page.

    A form or script of another site can't send the CSRF header. Raises HttpRefusal 403.
    """

    async def check(
        request: Request, access: dependencies.AccessDep, caller: CallerDep, _: Annotated[object, Depends(_csrf)]
    ) -> Caller:
        if caller.session is None:
            _check_scope(caller, scope)
        elif not dependencies.is_session_form(access, caller.session, request.headers.get(CSRF_HEADER)):
            message = f"send the page's csrf value in the header {CSRF_HEADER}"
            raise HttpRefusal(403, "csrf_needed", message, _challenge())
        return caller

    return check


def _check_scope(caller: Caller, scope: Scope) -> None:
    if scope not in caller.scopes:
        extra = f', error="insufficient_scope", scope="{scope}"'
        raise HttpRefusal(403, "scope_needed", f"this needs a token with the scope {scope}", _challenge(extra))


def _api_rate(settings: Settings) -> Rate:
    return Rate("api", settings.api_calls_per_minute)


def _count_call(visit: dependencies.Visit, rate: Rate, subject: str) -> None:
    """Count a call, and tell the caller how many are left. Raises HttpRefusal 429."""
    left, window_s = RateLimiter(visit.stores.redis).count(rate, subject)
    # Source: draft-ietf-httpapi-ratelimit-headers-10.
    visit.request.state.rate_limit = {
        "RateLimit-Policy": f'"{rate.name}";q={rate.calls};w={rate.window_s}',
        "RateLimit": f'"{rate.name}";r={max(left, 0)};t={window_s}',
    }
    if left < 0:
        raise _too_many_requests(window_s)


def _too_many_requests(wait_s: int) -> HttpRefusal:
    return HttpRefusal(429, "too_many_requests", f"too many calls: try again in {wait_s} s", wait_s=wait_s)


def _unauthorized(message: str, extra: str = "") -> HttpRefusal:
    return HttpRefusal(401, "unauthorized", message, _challenge(extra))


def _challenge(extra: str = "") -> dict[str, str]:
    return {"WWW-Authenticate": f'Bearer realm="releve"{extra}'}


ReadAccounts = Annotated[Caller, Depends(require_scope(Scope.READ_ACCOUNTS))]
ReadMeasures = Annotated[Caller, Depends(require_scope(Scope.READ_MEASURES))]
ReadAudit = Annotated[Caller, Depends(require_scope(Scope.READ_AUDIT))]
WriteAccounts = Annotated[Caller, Depends(require_scope(Scope.WRITE_ACCOUNTS))]
ReadAsClient = Annotated[Caller, Depends(check_reading_client)]
MayStop = Annotated[Caller, Depends(require_scope_or_page(Scope.WRITE_ACCOUNTS))]
MayImport = MayStop  # The same callers: a program that may write, and the household's own page.
MayErase = Annotated[Caller, Depends(require_scope_or_page(Scope.ERASE_ACCOUNTS))]
