"""OAuth proxy for callers with accounts of their own (Cozy stacks): one callback address at the supplier, many callers.

1. A stack sends the person to ``/auth``. The proxy redirects to the supplier's consent page.
2. The supplier sends the person to ``/redirect``. The proxy redirects to the stack's own address.
3. The stack exchanges a code at ``/token``, and later renews its token there, in plain OAuth 2.0 (RFC 6749).

The supplier takes 100 characters of state and knows one callback address, so the caller's state and address wait in
Redis. A client of ``/token`` authenticates with our own id and secret at the supplier. The proxy redirects only to the
origins in RELEVE_PROXY_ORIGINS.
"""

from __future__ import annotations

import hmac
import json
import logging
import re
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from worker.clients.enedis.consent import usage_points_of_grant
from worker.clients.suppliers import SUPPLIERS
from worker.clients.tokens import Token
from worker.domain.fleet.backoff import CLIENT_DELAY_S
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
from worker.stores.redis.rate_limits import RateLimiter
from worker.web.addresses import client_address
from worker.web.consent.callback import answer_callback
from worker.web.consent.routes import CONSENT_STARTS, PORTAL_SUFFIX, start_flow
from worker.web.context import RuntimeDep, SessionDep
from worker.web.errors import HttpRefusal

log = logging.getLogger("releve.proxy")
router = APIRouter(prefix="/proxy", include_in_schema=False)

_LONGEST_STATE: Final = 512
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_DEFAULT_TOKEN_LIFE_S: Final = 12_600


def check_enabled(supplier: str, runtime: RuntimeDep) -> None:
    if not runtime.settings.proxy_origins or supplier not in SUPPLIERS:
        raise HttpRefusal(404, "not_found", "there is no proxy here")


_Enabled: Final = Depends(check_enabled)
_basic = HTTPBasic(realm="releve", auto_error=False)


@router.get("/{supplier}/auth", dependencies=[_Enabled])
def authorize(request: Request, supplier: str, runtime: RuntimeDep) -> Response:
    """Redirect to the supplier's page, for a caller whose address is on one of the allowed origins."""
    redirect_uri, state = _read_authorization_request(request, runtime)
    if wait_s := RateLimiter(runtime.redis).count_call(CONSENT_STARTS, client_address(request)):
        raise HttpRefusal(429, "temporarily_unavailable", "too many at once", wait_s=wait_s)
    flow = ConsentFlow(supplier, redirect_uri=redirect_uri, caller_state=state)
    hint = request.query_params.get("usage_point_id")  # Only a simulator gets it.
    try:
        return RedirectResponse(start_flow(runtime, flow, f"/proxy/{supplier}/redirect", hint), 302)
    except ValueError:
        raise HttpRefusal(503, "temporarily_unavailable", "this supplier has no consent page") from None


@router.get("/{supplier}/redirect")
@router.get(f"/{{supplier}}/redirect{PORTAL_SUFFIX}")
def receive_callback(request: Request, supplier: str, runtime: RuntimeDep, session: SessionDep) -> Response:
    """Receive a person who comes back from the supplier's page.

    The supplier knows one address of ours, so a household of our own may come here too.
    """
    if supplier not in SUPPLIERS:
        raise HttpRefusal(404, "not_found", "no such supplier")
    return answer_callback(request, runtime, session)


def _read_authorization_request(request: Request, runtime: Runtime) -> tuple[str, str]:
    """Return the caller's address and state. A request that is refused here isn't redirected (RFC 6749, 4.1.2.1)."""
    query = _unique_parameters(request.query_params.multi_items())
    if not is_allowed_redirect(query.get("redirect_uri", ""), read_origins(runtime.settings.proxy_origins)):
        raise HttpRefusal(400, "invalid_request", "redirect_uri is missing or not on an allowed origin")
    if query.get("response_type", "code") != "code":
        raise HttpRefusal(400, "unsupported_response_type", "only response_type=code is spoken here")
    if query.get("client_id", runtime.settings.enedis_client_id) != runtime.settings.enedis_client_id:
        raise HttpRefusal(400, "unauthorized_client", "this client_id is not known here")
    if not 0 < len(query.get("state", "")) <= _LONGEST_STATE:
        raise HttpRefusal(400, "invalid_request", f"state is missing or longer than {_LONGEST_STATE} characters")
    return query["redirect_uri"], query["state"]


async def read_form(request: Request) -> dict[str, str]:
    """Return the form's fields."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise HttpRefusal(400, "invalid_request", f"send {_FORM_TYPE}")
    body = await request.body()
    try:
        return _unique_parameters(
            parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=50, errors="strict")
        )
    except ValueError:
        raise HttpRefusal(400, "invalid_request", "the form can't be read") from None


@router.post("/{supplier}/token", dependencies=[_Enabled])
def issue_token(
    runtime: RuntimeDep,
    form: Annotated[dict[str, str], Depends(read_form)],
    basic: Annotated[HTTPBasicCredentials | None, Depends(_basic)],
) -> Response:
    """Answer the exchange of a code, and each renewal of a token."""
    _check_client(runtime, form, basic)
    try:
        return JSONResponse(_answer_grant(runtime, form), headers={"Pragma": "no-cache"})
    except WorkerError as error:
        log.warning("proxy token refused", extra=fields(code=error.code, reason=str(error)))
        raise _to_refusal(error) from None


def _answer_grant(runtime: Runtime, form: Mapping[str, str]) -> dict[str, Any]:
    grant_type = form.get("grant_type")
    if grant_type == "authorization_code":
        return _exchange_code(runtime, _required_field(form, "code"), form.get("redirect_uri"))
    if grant_type == "refresh_token":
        refresh_token = _required_field(form, "refresh_token")
        if runtime.clients.account_tokens:
            return _token_body(runtime.clients.oauth.refresh(refresh_token))
        # Where a holder has no token of its own, a renewal is a new token of the application (client_credentials).
        return _application_token_body(runtime)
    if not grant_type:
        raise HttpRefusal(400, "invalid_request", "grant_type is missing")
    raise HttpRefusal(400, "unsupported_grant_type", "only authorization_code and refresh_token are spoken here")


def _exchange_code(runtime: Runtime, code: str, redirect_uri: str | None) -> dict[str, Any]:
    """Return token and usage points for a code. A Cozy stack stores the latter as ``oauth_callback_results``."""
    if runtime.clients.account_tokens:
        grant = runtime.clients.oauth.exchange_code(code)
        usage_points = usage_points_of_grant(grant, runtime.settings.enedis_client_id)
        return {**grant.extras, **_usage_point_fields(usage_points), **_token_body(grant.token)}
    flows = ConsentFlows(runtime.redis)
    sealed = flows.redeem_code(code)
    facts = _unseal(runtime, sealed) if sealed else None
    if not sealed or facts is None or redirect_uri not in (None, "", facts["redirect_uri"]):
        raise HttpRefusal(400, "invalid_grant", "this code is unknown, used, too old or another caller's")
    try:
        body = _application_token_body(runtime)
        if facts["autorisation_id"] is None:
            return {**_usage_point_fields(facts["usage_points"]), **body}
        supplier = runtime.supplier_consents
        usage_points = facts["usage_points"] or supplier.authorised_usage_points(facts["autorisation_id"])
        return {**_usage_point_fields(usage_points), "autorisation_id": str(facts["autorisation_id"]), **body}
    except TransientError:
        flows.restore_code(code, sealed)
        raise


def _unseal(runtime: Runtime, sealed: str) -> dict[str, Any] | None:
    try:
        return dict(json.loads(runtime.sealer.unseal(sealed)))
    except WorkerError:  # The encryption key is gone: the person goes through the consent page again.
        return None


def _usage_point_fields(usage_points: Any) -> dict[str, str]:
    """Return the usage points under both names in use."""
    joined = ",".join(usage_points)
    return {"usage_point_id": joined, "usage_points_id": joined} if joined else {}


def _application_token_body(runtime: Runtime) -> dict[str, Any]:
    """Return the application's token, with a random refresh token: a stack without one would never renew."""
    body = _token_body(runtime.clients.application_tokens().current())
    return {**body, "refresh_token": secrets.token_urlsafe(32)}


def _token_body(token: Token) -> dict[str, Any]:
    """Return the token answer. ``expires_in`` is a whole number: Cozy's stack can't decode a text there."""
    life_s = _DEFAULT_TOKEN_LIFE_S if token.expires_at is None else max(0, int(token.expires_at - time.time()))
    body = {"access_token": token.access, "token_type": "Bearer", "expires_in": life_s}
    return body if token.refresh is None else {**body, "refresh_token": token.refresh}


def _check_client(runtime: Runtime, form: Mapping[str, str], basic: HTTPBasicCredentials | None) -> None:
    """Check for our own id and secret at the supplier, in a Basic header or in the form (RFC 6749, 2.3.1)."""
    settings = runtime.settings
    sent = (basic.username, basic.password) if basic else (form.get("client_id", ""), form.get("client_secret", ""))
    expected = (settings.enedis_client_id, settings.enedis_client_secret.get_secret_value())
    # Both are always compared, so that the time of the answer doesn't tell which one is wrong.
    matches = [hmac.compare_digest(text.encode(), own.encode()) for text, own in zip(sent, expected, strict=True)]
    if not all(matches):
        headers = {"WWW-Authenticate": 'Basic realm="releve"'} if basic else None
        raise HttpRefusal(401, "invalid_client", "client_id or client_secret is wrong", headers)


def _to_refusal(error: WorkerError) -> HttpRefusal:
    if isinstance(error, TransientError):
        wait_s = error.retry_after_s or CLIENT_DELAY_S
        if isinstance(error, RateLimited):
            message = "we wait for our turn with the supplier: try again later"
            return HttpRefusal(429, "temporarily_unavailable", message, wait_s=wait_s)
        return HttpRefusal(503, "temporarily_unavailable", "the supplier does not answer: try again", wait_s=wait_s)
    if isinstance(error, AccountError):
        return HttpRefusal(400, "invalid_grant", "the supplier refuses the code or refresh token: consent again")
    if isinstance(error, RequestRefused):
        return HttpRefusal(400, "invalid_request", "the supplier refuses this request")
    return HttpRefusal(500, "server_error", "the service can't do this: its operator finds the reason in the log")


def _required_field(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise HttpRefusal(400, "invalid_request", f"{name} is missing")
    return form[name]


def _unique_parameters(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Return the parameters by name. A repeated name is refused, because another reader might take the other value."""
    parameters = dict(pairs)
    if len(parameters) < len(pairs):
        raise HttpRefusal(400, "invalid_request", "a parameter is named twice")
    return parameters


LONGEST_ADDRESS: Final = 2000
_DEFAULT_PORTS: Final = {"https": "443", "http": "80"}
# Only this pattern reads an address: browsers and libraries differ about \, @, # and control characters, and a
# difference would let an attacker choose where a person is sent.
_ADDRESS: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9*-]+(?:\.[a-z0-9*-]+)*)(?::(?P<port>\d{1,5}))?"
    r"(?P<rest>/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?)?",
    re.ASCII | re.IGNORECASE,
)

Origin = tuple[str, tuple[str, ...], str]  # Such as ("https", ("*", "mycozy", "cloud"), "443").


def read_origins(text: str) -> tuple[Origin, ...]:
    """Return the origins of the setting, which has checked them: scheme, labels of the host, port."""
    parts = (part.strip() for part in text.split(","))
    return tuple(origin for part in parts if part and (origin := _parse_origin(part)) is not None)


def is_allowed_redirect(address: str, origins: Iterable[Origin]) -> bool:
    """Whether ``address`` is a plain address on one of the origins, without user, fragment or odd signs."""
    if len(address) > LONGEST_ADDRESS or "*" in address.partition("://")[2].partition("/")[0]:
        return False
    origin = _parse_origin(address)
    return origin is not None and any(_is_allowed(origin, allowed) for allowed in origins)


def _parse_origin(address: str) -> Origin | None:
    match = _ADDRESS.fullmatch(address)
    if match is None:
        return None
    scheme = match["scheme"].lower()
    return scheme, tuple(match["host"].lower().split(".")), match["port"] or _DEFAULT_PORTS[scheme]


def _is_allowed(origin: Origin, allowed: Origin) -> bool:
    (scheme, labels, port), (allowed_scheme, allowed_labels, allowed_port) = origin, allowed
    if (scheme, port, len(labels)) != (allowed_scheme, allowed_port, len(allowed_labels)):
        return False
    return all(pattern in ("*", label) for label, pattern in zip(labels, allowed_labels, strict=True))
