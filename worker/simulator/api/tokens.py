"""The token endpoints: a user's rotating tokens (v1) and the application's (v3).  Source: upstream-apis, 1.4."""

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
from worker.simulator.api.errors import TABLE, Generation, to_json
from worker.simulator.api.gateway import Handler, behind_gateway
from worker.simulator.consents import Consent
from worker.simulator.state import SimulatorState

_SCOPE_V4 = (
    "/v4/metering_data/daily_consumption.GET /v4/metering_data/consumption_load_curve.GET "
    "/v4/metering_data/consumption_max_power.GET"
)


def token_routes(world: SimulatorState) -> list[Route]:
    async def user_token(request: Request) -> Response:
        form = await _form(request)
        return form if isinstance(form, Response) else _user_token(world, request, form)

    async def application_token(request: Request) -> Response:
        form = await _form(request)
        return form if isinstance(form, Response) else _application_token(world, request, form)

    async def revoke(request: Request) -> Response:
        """200 even for a token that nobody knows."""
        form = await _form(request)
        if not isinstance(form, Response):
            world.tokens.revoke(form.get("token", ""))
        return Response(b"", 200)

    return [
        _post(world, "/v1/oauth2/token", user_token, Generation.V4),
        _post(world, "/oauth2/v3/token", application_token, Generation.V5),
        _post(world, "/oauth2/v3/revoke", revoke, Generation.V5),
    ]


def _post(world: SimulatorState, path: str, handler: Handler, generation: Generation) -> Route:
    return Route(path, behind_gateway(world, handler, path, generation), methods=["POST"])


async def _form(request: Request) -> Mapping[str, str] | Response:
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        return _refused("invalid_request", "unsupported_media_type", 415)
    body = (await request.body()).decode("utf-8", errors="replace")
    return dict(parse_qsl(body, keep_blank_values=True))


def _user_token(world: SimulatorState, request: Request, form: Mapping[str, str]) -> Response:
    if not form.get("grant_type"):
        return _refused("invalid_request", "missing_parameter")
    if not _known_client(world, request, form):
        return TABLE["unauthorized"].respond(Generation.V4)
    if form["grant_type"] not in ("authorization_code", "refresh_token"):
        return _refused("unsupported_grant_type", "unsupported_grant_type")
    by_code = form["grant_type"] == "authorization_code"
    secret = form.get("code" if by_code else "refresh_token")
    if not secret:
        return _refused("invalid_request", "missing_parameter")
    redeem = world.tokens.redeem_code if by_code else world.tokens.redeem_refresh
    consent = redeem(secret) if _same_callback(world, request, form) else None
    if consent is None:
        return TABLE["invalid_grant"].respond(Generation.V4)
    world.report.add_token(form["grant_type"])
    return to_json(_user_body(world, consent))


def _application_token(world: SimulatorState, request: Request, form: Mapping[str, str]) -> Response:
    if not form.get("grant_type"):
        return _refused("invalid_request", "missing_parameter")
    if not _known_client(world, request, form):
        return TABLE["unauthorized"].respond(Generation.V5)
    if form["grant_type"] != "client_credentials":
        return _refused("unsupported_grant_type", "unsupported_grant_type")
    world.report.add_token(form["grant_type"])
    life_s = world.token_life_s
    return to_json(
        {
            "access_token": world.tokens.issue_application(life_s),
            "scope": "" if world.switches.empty_scope else "am_application_scope default",
            "token_type": "Bearer",
            "expires_in": _expires_in(world, life_s),
        }
    )


def _user_body(world: SimulatorState, consent: Consent) -> Json:
    life_s = world.token_life_s
    access, refresh = world.tokens.issue_user(consent, life_s)
    issued_at = str(int(world.clock.now().timestamp() * 1000))
    body = {
        "access_token": access,
        "token_type": "Bearer",
        "expires_in": _expires_in(world, life_s),
        "refresh_token": refresh,
        "scope": "" if world.switches.empty_scope else _SCOPE_V4,
        "issued_at": issued_at,
        "refresh_token_issued_at": issued_at,
        "usage_points_id": ",".join(consent.usage_points),
    }
    return body | {"id_token": _invented_id_token(consent)} if world.switches.id_token else body


def _expires_in(world: SimulatorState, life_s: int) -> int | str:
    return str(life_s) if world.switches.expires_as_text else life_s


def _invented_id_token(consent: Consent) -> str:
    """No Enedis answer with one was ever seen (upstream-apis, 1.11); unsigned."""
    parts = ({"alg": "none", "typ": "JWT"}, {"usage_point_id": consent.usage_points[0], "invented": True})
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join((*encoded, ""))


def _known_client(world: SimulatorState, request: Request, form: Mapping[str, str]) -> bool:
    """By header or by form; both are in use."""
    client_id, secret = _basic(request) or (form.get("client_id", ""), form.get("client_secret", ""))
    options = world.options
    if options.any_application:
        return bool(client_id and secret)
    return hmac.compare_digest(client_id.encode(), options.client_id.encode()) and hmac.compare_digest(
        secret.encode(), options.client_secret.encode()
    )


def _basic(request: Request) -> tuple[str, str] | None:
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        client_id, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    return client_id, secret


def _same_callback(world: SimulatorState, request: Request, form: Mapping[str, str]) -> bool:
    """Sent in the query, in the body or not at all; if sent, it must be the registered one."""
    sent = form.get("redirect_uri") or request.query_params.get("redirect_uri")
    return not sent or world.options.redirect_uri in (None, sent)


def _refused(error: str, description: str, status: int = 400) -> Response:
    return to_json({"error": error, "error_description": description}, status)
