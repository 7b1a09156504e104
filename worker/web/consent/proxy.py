"""The proxy of the seed, for stacks that do their own accounts: one callback address at the supplier, many callers.

A stack (Cozy) sends the person to ``/auth`` and gets them back at its own address; then it exchanges a code, and
later renews, at ``/token``, in plain OAuth.  The supplier takes 100 characters of state and knows one callback
address, so the caller's state and address wait in Redis (semantics, 6.1; upstream-apis, 1.11).

A client of ``/token`` has our own id and secret at the supplier, as the seed's stack has them.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import logging
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from worker.accounts.connect import authorised_usage_points
from worker.clients.enedis.consent import usage_points_of_grant
from worker.clients.tokens import Token
from worker.errors import (
    AccountError,
    RateLimited,
    RequestRefused,
    TransientError,
    WorkerError,
)
from worker.logs import fields
from worker.runtime.process import Runtime
from worker.stores.redis.consent_flows import ConsentFlow, ConsentFlows
from worker.web.consent.callback import arrive
from worker.web.consent.proxy_return import redeem, unredeem
from worker.web.consent.start import GLUED, STARTS, SUPPLIERS, begin
from worker.web.context import ContextDep, SessionDep
from worker.web.rate_limit import Limiter, address_of

log = logging.getLogger("releve.proxy")
router = APIRouter(prefix="/proxy", include_in_schema=False)

_LONGEST_STATE: Final = 512
_LARGEST_FORM: Final = 16_384
_FORM: Final = "application/x-www-form-urlencoded"
_USUAL_LIFE_S: Final = 12_600


class _Refused(Exception):
    """Ends a request with an answer in OAuth's form (RFC 6749, 5.2)."""

    def __init__(self, error: str, description: str, status: int = 400, headers: Mapping[str, str] | None = None):
        super().__init__(description)
        self.error, self.status, self.headers = error, status, headers

    def to_response(self) -> Response:
        body = {"error": self.error, "error_description": str(self)}
        return JSONResponse(body, self.status, {"Pragma": "no-cache", **(self.headers or {})})


# -- the person's way


@router.get("/{supplier}/auth")
def authorize(request: Request, supplier: str, house: ContextDep) -> Response:
    """Off to the supplier's page, for a caller whose address is on one of the allowed origins."""
    runtime = house.runtime
    try:
        _check_open(runtime, supplier)
        redirect_uri, state = _read_wish(request, runtime)
        if wait_s := Limiter(runtime.redis).wait_s(STARTS, address_of(request)):
            raise _Refused("temporarily_unavailable", "too many at once", 429, {"Retry-After": str(wait_s)})
        handshake = ConsentFlow(supplier, redirect_uri=redirect_uri, caller_state=state)
        hint = request.query_params.get("usage_point_id")  # for a simulator
        return RedirectResponse(begin(runtime, handshake, f"/proxy/{supplier}/redirect", hint), 302)
    except _Refused as refused:
        return refused.to_response()
    except ValueError:
        return _Refused("temporarily_unavailable", "this supplier has no consent page", 503).to_response()


@router.get("/{supplier}/redirect")
@router.get(f"/{{supplier}}/redirect{GLUED}")
def come_back(request: Request, supplier: str, house: ContextDep, session: SessionDep) -> Response:
    """Back from the supplier's page.  It knows one address of ours, so a household of our own may come here too."""
    if supplier not in SUPPLIERS:
        return _Refused("not_found", "no such supplier", 404).to_response()
    return arrive(request, house, session)


def _check_open(runtime: Runtime, supplier: str) -> None:
    if not runtime.settings.proxy_origins or supplier not in SUPPLIERS:
        raise _Refused("not_found", "there is no proxy here", 404)


def _read_wish(request: Request, runtime: Runtime) -> tuple[str, str]:
    """The caller's address and state.  Whoever is refused here is never redirected (RFC 6749, 4.1.2.1)."""
    told = _single(request.query_params.multi_items())
    if not may_send_to(told.get("redirect_uri", ""), read_origins(runtime.settings.proxy_origins)):
        raise _Refused("invalid_request", "redirect_uri is missing or not on an allowed origin")
    if told.get("response_type", "code") != "code":
        raise _Refused("unsupported_response_type", "only response_type=code is spoken here")
    if told.get("client_id", runtime.settings.enedis_client_id) != runtime.settings.enedis_client_id:
        raise _Refused("unauthorized_client", "this client_id is not known here")
    if not 0 < len(told.get("state", "")) <= _LONGEST_STATE:
        raise _Refused("invalid_request", f"state is missing or longer than {_LONGEST_STATE} characters")
    return told["redirect_uri"], told["state"]


# -- the stack's way


async def _form(request: Request) -> dict[str, str] | _Refused:
    """The form, or what to answer to it."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        return _Refused("invalid_request", f"send {_FORM}")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_FORM:
            return _Refused("invalid_request", "the form is too large", 413)
    try:
        return _single(parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=50, errors="strict"))
    except (ValueError, _Refused):
        return _Refused("invalid_request", "the form can't be read, or names a parameter twice")


@router.post("/{supplier}/token")
def give_token(
    request: Request, supplier: str, house: ContextDep, form: Annotated[dict[str, str] | _Refused, Depends(_form)]
) -> Response:
    """The exchange of a code, and each renewal."""
    try:
        _check_open(house.runtime, supplier)
        if isinstance(form, _Refused):
            raise form
        _check_client(request, house.runtime, form)
        return JSONResponse(_grant(house.runtime, form), headers={"Pragma": "no-cache"})
    except _Refused as refused:
        return refused.to_response()
    except WorkerError as error:
        log.warning("proxy token refused", extra=fields(code=error.code, reason=str(error)))
        return _in_oauth_form(error).to_response()


def _grant(runtime: Runtime, form: Mapping[str, str]) -> dict[str, Any]:
    grant_type = form.get("grant_type")
    if grant_type == "authorization_code":
        return _by_code(runtime, _needed(form, "code"), form.get("redirect_uri"))
    if grant_type == "refresh_token":
        refresh_token = _needed(form, "refresh_token")
        if runtime.account_tokens:
            return _to_body(runtime.oauth.refresh(refresh_token))
        return _application_body(runtime)  # the seed's: "refresh" is client_credentials where a user has no token
    if not grant_type:
        raise _Refused("invalid_request", "grant_type is missing")
    raise _Refused("unsupported_grant_type", "only authorization_code and refresh_token are spoken here")


def _by_code(runtime: Runtime, code: str, redirect_uri: str | None) -> dict[str, Any]:
    """Beside the tokens the usage points, under all names in use: the stack keeps them as oauth_callback_results."""
    if runtime.account_tokens:
        grant = runtime.oauth.exchange_code(code)
        return {**grant.extras, **_naming(usage_points_of_grant(grant)), **_to_body(grant.token)}
    handshakes = ConsentFlows(runtime.redis)
    facts = redeem(runtime, handshakes, code)
    if facts is None or redirect_uri not in (None, "", facts["redirect_uri"]):
        raise _Refused("invalid_grant", "this code is unknown, used, too old or another caller's")
    try:
        body = _application_body(runtime)
        if facts["autorisation_id"] is None:
            return {**_naming(facts["usage_points"]), **body}
        usage_points = facts["usage_points"] or authorised_usage_points(runtime, facts["autorisation_id"])
        return {**_naming(usage_points), "autorisation_id": str(facts["autorisation_id"]), **body}
    except TransientError:
        unredeem(runtime, handshakes, code, facts)
        raise


def _naming(usage_points: Any) -> dict[str, str]:
    joined = ",".join(usage_points)
    return {"usage_point_id": joined, "usage_points_id": joined} if joined else {}


def _application_body(runtime: Runtime) -> dict[str, Any]:
    """The application's token.  Its refresh token means nothing, but without one the stack would never renew."""
    body = _to_body(runtime.tokens_of("").current())
    return {**body, "refresh_token": secrets.token_urlsafe(32)}


def _to_body(token: Token) -> dict[str, Any]:
    """``expires_in`` a whole number: a text there breaks the stack (upstream-apis, 1.11)."""
    life_s = _USUAL_LIFE_S if token.expires_at is None else max(0, int(token.expires_at - time.time()))
    body = {"access_token": token.access, "token_type": "Bearer", "expires_in": life_s}
    return body if token.refresh is None else {**body, "refresh_token": token.refresh}


def _check_client(request: Request, runtime: Runtime, form: Mapping[str, str]) -> None:
    """Our own id and secret at the supplier, by Basic header or in the form (RFC 6749, 2.3.1)."""
    settings = runtime.settings
    told = _basic(request) or (form.get("client_id", ""), form.get("client_secret", ""))
    wanted = (settings.enedis_client_id, settings.enedis_client_secret.get_secret_value())
    holds = [hmac.compare_digest(mine.encode(), theirs.encode()) for mine, theirs in zip(told, wanted, strict=True)]
    if not all(holds):
        headers = {"WWW-Authenticate": 'Basic realm="releve"'} if "authorization" in request.headers else None
        raise _Refused("invalid_client", "client_id or client_secret is wrong", 401, headers)


def _basic(request: Request) -> tuple[str, str] | None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return client_id, secret


def _in_oauth_form(error: WorkerError) -> _Refused:
    if isinstance(error, TransientError):
        headers = {"Retry-After": str(max(1, round(error.retry_after_s or 5)))}
        status = 429 if isinstance(error, RateLimited) else 503
        return _Refused("temporarily_unavailable", "the supplier does not answer: try again", status, headers)
    if isinstance(error, AccountError):
        return _Refused("invalid_grant", "the supplier refuses the code or refresh token: consent again")
    if isinstance(error, RequestRefused):
        return _Refused("invalid_request", "the supplier refuses this request")
    return _Refused("server_error", "the service can't do this: its operator finds the reason in the log", 500)


def _needed(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise _Refused("invalid_request", f"{name} is missing")
    return form[name]


def _single(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Parameters by name.  Twice the same name is refused: who reads the other one would be misled."""
    told = dict(pairs)
    if len(told) < len(pairs):
        raise _Refused("invalid_request", "a parameter is named twice")
    return told


# Which addresses the proxy may send a person on to: those of the origins in RELEVE_PROXY_ORIGINS, nothing else.

LONGEST: Final = 2000
_DEFAULT_PORTS: Final = {"https": "443", "http": "80"}
# Read by this pattern and no other parser: browsers and libraries differ about \, @, # and control characters,
# and a difference is an open door.
_ADDRESS: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9*-]+(?:\.[a-z0-9*-]+)*)(?::(?P<port>\d{1,5}))?"
    r"(?P<rest>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)?",
    re.ASCII | re.IGNORECASE,
)

Origin = tuple[str, tuple[str, ...], str]


def read_origins(text: str) -> tuple[Origin, ...]:
    """The origins of the setting (which has checked them): scheme, labels of the host, port."""
    parts = (part.strip() for part in text.split(","))
    return tuple(origin for part in parts if part and (origin := _origin_of(part)) is not None)


def may_send_to(address: str, origins: Iterable[Origin]) -> bool:
    """Whether ``address`` is a plain address on one of the origins, without user, fragment or odd signs."""
    if len(address) > LONGEST or "*" in address.partition("://")[2].partition("/")[0]:
        return False
    told = _origin_of(address)
    return told is not None and any(_fits(told, origin) for origin in origins)


def _origin_of(address: str) -> Origin | None:
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return None
    scheme = match["scheme"].lower()
    return scheme, tuple(match["host"].lower().split(".")), match["port"] or _DEFAULT_PORTS[scheme]


def _fits(told: Origin, allowed: Origin) -> bool:
    same = told[0] == allowed[0] and told[2] == allowed[2] and len(told[1]) == len(allowed[1])
    return same and all(wanted in ("*", label) for label, wanted in zip(told[1], allowed[1], strict=True))
