"""Token endpoints: a user's rotating tokens (v1), the application's token (v3), and the revocation of tokens.

Source: Enedis, swagger of the Data Connect token API.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.simulator.api.errors import ERROR_TABLE, Generation, Refused, oauth_error
from worker.simulator.api.gateway import gateway_route
from worker.simulator.consents import Consent
from worker.simulator.state import SimulatorState

_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_SCOPE_V4: Final = (
    "/v4/metering_data/daily_consumption.GET /v4/metering_data/consumption_load_curve.GET "
    "/v4/metering_data/consumption_max_power.GET"
)


def token_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of the token endpoints."""

    async def user_token(request: Request) -> Response:
        form = await _read_form(simulator, request, "authorization_code", "refresh_token")
        return JSONResponse(_user_body(simulator, _redeem(simulator, request, form)))

    async def application_token(request: Request) -> Response:
        form = await _read_form(simulator, request, "client_credentials")
        simulator.report.add_token(form["grant_type"])
        token = simulator.tokens.issue(None, simulator.switches.token_life_s)
        scope, life_s = "am_application_scope default", simulator.switches.token_life_s
        return JSONResponse({"access_token": token, "scope": scope, "token_type": "Bearer", "expires_in": life_s})

    async def revoke(request: Request) -> Response:
        form = await _read_client_form(simulator, request)
        if not form.get("token"):
            raise Refused(oauth_error("invalid_request", "missing_parameter"))
        simulator.report.add_token("revoke")
        simulator.tokens.revoke(form["token"])
        return Response(status_code=200)  # For a token that it doesn't know, too.

    return [
        gateway_route(simulator, ["POST"], "/oauth2/v3/revoke", revoke, Generation.V5),
        gateway_route(simulator, ["POST"], "/v1/oauth2/token", user_token, Generation.V4),
        gateway_route(simulator, ["POST"], "/oauth2/v3/token", application_token, Generation.V5),
    ]


async def _read_form(simulator: SimulatorState, request: Request, *grant_types: str) -> Mapping[str, str]:
    """Return the form of a known application that asks for one of the grants.  Raises Refused."""
    form = await _read_client_form(simulator, request, "grant_type")
    if form["grant_type"] not in grant_types:
        raise Refused(oauth_error("unsupported_grant_type", "unsupported_grant_type"))
    return form


async def _read_client_form(simulator: SimulatorState, request: Request, *needed: str) -> Mapping[str, str]:
    """Return the form of a known application, with the fields that it must have.  Raises Refused."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != _FORM_TYPE:
        raise Refused(oauth_error("invalid_request", "unsupported_media_type", 415))
    form = {name: str(value) for name, value in (await request.form()).items()}
    if not all(map(form.get, needed)):
        raise Refused(oauth_error("invalid_request", "missing_parameter"))
    if not _is_known_client(simulator, request, form):
        raise Refused(ERROR_TABLE["unauthorized"])
    return form


def _redeem(simulator: SimulatorState, request: Request, form: Mapping[str, str]) -> Consent:
    """Return the consent behind a code or a refresh token and use that up.  Raises Refused."""
    by_code = form["grant_type"] == "authorization_code"
    secret = form.get("code" if by_code else "refresh_token")
    if not secret:
        raise Refused(oauth_error("invalid_request", "missing_parameter"))
    # The query or the body may name the callback, which must be the registered one.
    callback = form.get("redirect_uri") or request.query_params.get("redirect_uri")
    is_registered = not callback or simulator.options.redirect_uri in (None, callback)
    redeem = simulator.tokens.redeem_code if by_code else simulator.tokens.redeem_refresh_token
    consent = redeem(secret) if is_registered else None
    if consent is None:
        raise Refused(ERROR_TABLE["invalid_grant"])
    simulator.report.add_token(form["grant_type"])
    return consent


def _user_body(simulator: SimulatorState, consent: Consent) -> Json:
    issued_at = str(int(simulator.clock.now().timestamp() * 1000))
    meters = {} if simulator.switches.token_without_meter else {"usage_points_id": ",".join(consent.usage_points)}
    return {
        "access_token": simulator.tokens.issue(consent, simulator.switches.token_life_s),
        "token_type": "Bearer",
        "expires_in": simulator.switches.token_life_s,
        "refresh_token": simulator.tokens.issue_refresh_token(consent),
        "scope": _SCOPE_V4,
        "issued_at": issued_at,
        "refresh_token_issued_at": issued_at,
        **meters,
    }


def _is_known_client(simulator: SimulatorState, request: Request, form: Mapping[str, str]) -> bool:
    """Return whether the application's id and secret are right, in the header or in the form: clients use both."""
    client_id, secret = _basic_credentials(request) or (form.get("client_id", ""), form.get("client_secret", ""))
    options = simulator.options
    if options.client_id is None:
        return bool(client_id and secret)
    return (client_id, secret) == (options.client_id, options.client_secret)


def _basic_credentials(request: Request) -> tuple[str, str] | None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    return client_id, secret
