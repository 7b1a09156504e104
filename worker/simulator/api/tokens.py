"""Token endpoints: a user's rotating tokens (v1) and the application's token (v3).

Source: Enedis, swagger of the Data Connect token API.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.simulator.api.errors import ERROR_TABLE, Generation, to_json_response
from worker.simulator.api.gateway import Handler, wrap_in_gateway
from worker.simulator.consents import Consent
from worker.simulator.state import SimulatorState

_SCOPE_V4 = (
    "/v4/metering_data/daily_consumption.GET /v4/metering_data/consumption_load_curve.GET "
    "/v4/metering_data/consumption_max_power.GET"
)


def token_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of the token endpoints."""

    async def user_token(request: Request) -> Response:
        form = await _read_form(request)
        return form if isinstance(form, Response) else _issue_user_token(simulator, request, form)

    async def application_token(request: Request) -> Response:
        form = await _read_form(request)
        return form if isinstance(form, Response) else _issue_application_token(simulator, request, form)

    async def revoke(request: Request) -> Response:
        """Answer 200 even for an unknown token."""
        form = await _read_form(request)
        if not isinstance(form, Response):
            simulator.tokens.revoke(form.get("token", ""))
        return Response(b"", 200)

    return [
        _post_route(simulator, "/v1/oauth2/token", user_token, Generation.V4),
        _post_route(simulator, "/oauth2/v3/token", application_token, Generation.V5),
        _post_route(simulator, "/oauth2/v3/revoke", revoke, Generation.V5),
    ]


def _post_route(simulator: SimulatorState, path: str, handler: Handler, generation: Generation) -> Route:
    return Route(path, wrap_in_gateway(simulator, handler, path, generation), methods=["POST"])


async def _read_form(request: Request) -> Mapping[str, str] | Response:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return _refuse("invalid_request", "unsupported_media_type", 415)
    body = (await request.body()).decode("utf-8", errors="replace")
    return dict(parse_qsl(body, keep_blank_values=True))


def _issue_user_token(simulator: SimulatorState, request: Request, form: Mapping[str, str]) -> Response:
    if not form.get("grant_type"):
        return _refuse("invalid_request", "missing_parameter")
    if not _is_known_client(simulator, request, form):
        return ERROR_TABLE["unauthorized"].respond(Generation.V4)
    if form["grant_type"] not in ("authorization_code", "refresh_token"):
        return _refuse("unsupported_grant_type", "unsupported_grant_type")
    by_code = form["grant_type"] == "authorization_code"
    secret = form.get("code" if by_code else "refresh_token")
    if not secret:
        return _refuse("invalid_request", "missing_parameter")
    redeem = simulator.tokens.redeem_code if by_code else simulator.tokens.redeem_refresh_token
    consent = redeem(secret) if _has_registered_callback(simulator, request, form) else None
    if consent is None:
        return ERROR_TABLE["invalid_grant"].respond(Generation.V4)
    simulator.report.add_token(form["grant_type"])
    return to_json_response(_user_body(simulator, consent))


def _issue_application_token(simulator: SimulatorState, request: Request, form: Mapping[str, str]) -> Response:
    if not form.get("grant_type"):
        return _refuse("invalid_request", "missing_parameter")
    if not _is_known_client(simulator, request, form):
        return ERROR_TABLE["unauthorized"].respond(Generation.V5)
    if form["grant_type"] != "client_credentials":
        return _refuse("unsupported_grant_type", "unsupported_grant_type")
    simulator.report.add_token(form["grant_type"])
    life_s = simulator.token_life_s
    return to_json_response(
        {
            "access_token": simulator.tokens.issue_application_token(life_s),
            "scope": "" if simulator.switches.empty_scope else "am_application_scope default",
            "token_type": "Bearer",
            "expires_in": _expires_in(simulator, life_s),
        }
    )


def _user_body(simulator: SimulatorState, consent: Consent) -> Json:
    life_s = simulator.token_life_s
    access, refresh = simulator.tokens.issue_user_tokens(consent, life_s)
    issued_at = str(int(simulator.clock.now().timestamp() * 1000))
    body = {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": _expires_in(simulator, life_s),
        "refresh_token": refresh,
        "scope": "" if simulator.switches.empty_scope else _SCOPE_V4,
        "issued_at": issued_at,
        "refresh_token_issued_at": issued_at,
        "usage_points_id": ",".join(consent.usage_points),
    }
    return body | {"id_token": _sample_id_token(consent)} if simulator.switches.id_token else body


def _expires_in(simulator: SimulatorState, life_s: int) -> int | str:
    return str(life_s) if simulator.switches.expires_as_text else life_s


def _sample_id_token(consent: Consent) -> str:
    """Return an unsigned id token of our own making, since no recorded Enedis answer has one."""
    parts = ({"alg": "none", "typ": "JWT"}, {"usage_point_id": consent.usage_points[0], "invented": True})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join((*encoded, ""))


def _is_known_client(simulator: SimulatorState, request: Request, form: Mapping[str, str]) -> bool:
    """Return whether the application's id and secret are right, in the header or in the form: clients use both."""
    client_id, secret = _basic_credentials(request) or (form.get("client_id", ""), form.get("client_secret", ""))
    options = simulator.options
    if options.any_application:
        return bool(client_id and secret)
    return hmac.compare_digest(client_id.encode(), options.client_id.encode()) and hmac.compare_digest(
        secret.encode(), options.client_secret.encode()
    )


def _basic_credentials(request: Request) -> tuple[str, str] | None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    return client_id, secret


def _has_registered_callback(simulator: SimulatorState, request: Request, form: Mapping[str, str]) -> bool:
    """Return whether ``redirect_uri``, where the query or the body has one, is the registered callback."""
    sent = form.get("redirect_uri") or request.query_params.get("redirect_uri")
    return not sent or simulator.options.redirect_uri in (None, sent)


def _refuse(error: str, description: str, status: int = 400) -> Response:
    return to_json_response({"error": error, "error_description": description}, status)
