"""The data route of the proxy (v5, 2026): a series of the one meter of a grant, as the supplier sends it."""

from __future__ import annotations

from typing import Annotated, Final

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from worker.accounts.proxy_grants import OtherMeter, TooEarly, read_query
from worker.domain.answers import Answer, AnswerKind
from worker.domain.oauth_proxy import ProxyGrant
from worker.errors import AccountError, SeriesNotOffered, WorkerError
from worker.runtime.sync_parts import Runtime
from worker.stores.redis.locks import Rate, RateLimiter
from worker.web.addresses import client_address
from worker.web.consent.proxy.routes import check_supplier
from worker.web.consent.proxy.token import to_refusal
from worker.web.context import RuntimeDep
from worker.web.errors import HttpRefusal

router = APIRouter()
_REALM: Final = 'Bearer realm="releve"'
_MOST_BYTES: Final = 5_000_000  # Of an answer: a week of load curve has some 100 kB, three years of days some 200 kB.
_WRONG_TOKENS: Final = Rate("proxy-token", calls=60, window_s=300)
_bearer = HTTPBearer(auto_error=False)
_REFUSALS: Final = {
    AnswerKind.NO_DATA: (404, "no_data", "the supplier has no data for these days"),
    AnswerKind.BEFORE_HISTORY: (400, "invalid_request", "the supplier's history begins later: ask for later days"),
    AnswerKind.TOO_LONG: (400, "invalid_request", "these are more days than the supplier sends in one answer"),
    AnswerKind.END_TOO_LATE: (400, "invalid_request", "the end must be a day earlier"),
}


@router.get("/{supplier}/data/{path:path}")
def read_data(
    request: Request,
    supplier: str,
    path: str,
    runtime: RuntimeDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Response:
    """Return the supplier's answer for a meter that the access token's grant is for."""
    check_supplier(supplier)
    if runtime.clients.account_tokens:
        message = "the token is the supplier's: use it there directly"
        raise HttpRefusal(404, "not_found", message)
    grant = _find_grant(request, runtime, bearer)
    pairs = request.query_params.multi_items()
    try:
        query = read_query(runtime.endpoints.preset, f"/{path}", dict(pairs))
        if query is not None and len(dict(pairs)) < len(pairs):
            raise ValueError("a parameter is given twice")
    except ValueError as error:
        raise HttpRefusal(400, "invalid_request", str(error)) from None
    if query is None:
        raise HttpRefusal(404, "not_found", "no series of the supplier has this path")
    try:
        return _to_response(runtime.proxy_data.read(grant, query))
    except OtherMeter:
        # The same for every other meter, known here or not.
        message = "this token is not for this meter"
        raise HttpRefusal(403, "insufficient_scope", message, _challenge("insufficient_scope")) from None
    except TooEarly as error:
        message = f"the meter was another person's before {error}: ask for later days"
        raise HttpRefusal(400, "invalid_request", message) from None
    except AccountError as error:
        message = "the supplier finds no consent for this meter: consent again"
        raise HttpRefusal(403, "access_denied", message) from error
    except SeriesNotOffered:
        raise HttpRefusal(404, "no_data", "this meter has no such series") from None
    except WorkerError as error:
        raise to_refusal(error) from error


def _find_grant(request: Request, runtime: Runtime, bearer: HTTPAuthorizationCredentials | None) -> ProxyGrant:
    """Return the grant of the call's token, and count the call. Raises HttpRefusal 401 or 429."""
    limiter = RateLimiter(runtime.redis)
    grant = runtime.proxy_data.find_grant(bearer.credentials) if bearer else None
    if grant is None:
        if wait_s := limiter.count_call(_WRONG_TOKENS, client_address(request)):
            raise HttpRefusal(429, "temporarily_unavailable", "too many wrong tokens: try again later", wait_s=wait_s)
        message = "send an access token as `Authorization: Bearer …`; this one is unknown or has expired"
        raise HttpRefusal(401, "invalid_token", message, _challenge("invalid_token" if bearer else ""))
    rate = Rate("proxy-grant", runtime.settings.api_calls_per_minute)
    if wait_s := limiter.count_call(rate, grant.id):
        raise HttpRefusal(429, "temporarily_unavailable", "too many calls: try again later", wait_s=wait_s)
    return grant


def _to_response(answer: Answer) -> Response:
    if answer.kind is not AnswerKind.DATA:
        raise HttpRefusal(*_REFUSALS[answer.kind])
    response = JSONResponse(answer.payload)
    if len(response.body) > _MOST_BYTES:
        raise HttpRefusal(502, "server_error", "the supplier's answer is too long: ask for fewer days")
    return response


def _challenge(error: str) -> dict[str, str]:
    return {"WWW-Authenticate": f'{_REALM}, error="{error}"' if error else _REALM}
