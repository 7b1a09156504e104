"""Authorization at Enedis: the consent page and its callback, the token endpoints, and a consent's usage points.

Tokens are a user's rotating ones (v1) and the application's (v3); they can be revoked.  The exchange of an
``autorisation_id`` for its usage points is the last step of a Data Connect 2026 consent.  A meter that both draws and
feeds in has two groups of services, as clients have reported.

Source: Enedis, swaggers of the Data Connect authorize API (v1; for v2, answers reported by its clients), of the Data
Connect token API, and "Services souscrits".
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Final
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from simulator.call_gate import authorize_call, gateway_route
from simulator.electricity_meters import Meter
from simulator.electricity_recordings import usage_points_of
from simulator.enedis_refusals import (
    ERROR_TABLE,
    NO_SERVICES,
    OUTSIDE_THE_SWAGGER,
    Generation,
    Refusal,
    Refused,
    oauth_error,
)
from simulator.running_state import HolderConsent, SimulatorState
from worker.domain.answers import Json
from worker.domain.consents import last_day_of
from worker.domain.series import Direction

USUAL_CALLBACK: Final = "http://127.0.0.1:8000/callback/enedis"  # That of `releve up` without further settings.
_LONGEST_STATE: Final = 100
_LONGEST_DURATION: Final = "P3Y1D"
_FAILURES: Final[Mapping[str, Mapping[str, str]]] = {
    "refused": {"code": "403", "error": "access_denied", "error_description": "access_denied"},
    "server_error": {
        "code": "500",
        "error": "server_error",
        "error_description": "lincs-internal-server-error",
    },
    "bare_server_error": {"code": "server_error", "error_description": "server_error"},
}
_FAILURE_2026: Final = {"error": "invalid_request", "error_description": "demande_non_aboutie"}
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_SCOPE_V4: Final = (
    "/v4/metering_data/daily_consumption.GET /v4/metering_data/consumption_load_curve.GET "
    "/v4/metering_data/consumption_max_power.GET"
)
_API: Final = "subscribed_services"


@dataclass(frozen=True, slots=True)
class _ConsentRequest:
    """Well-formed request for consent; without ``usage_points`` the holder consents for a new pretend home."""

    callback: str
    state: str
    last_day: date
    usage_points: tuple[str, ...] | None


def consent_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of the consent page, v1 and v2."""
    return [
        _authorize_route(simulator, "/dataconnect/v1/oauth2/authorize", Generation.V5),
        _authorize_route(simulator, "/dataconnect/v2/oauth2/authorize", Generation.V2026),
    ]


def _authorize_route(simulator: SimulatorState, path: str, generation: Generation) -> Route:
    async def authorize(request: Request) -> Response:
        parameters = request.query_params
        consent_request = _read_consent_request(simulator, parameters, generation)
        decision = parameters.get("decision")
        if simulator.options.consent_page and decision is None:
            return _consent_page(path, parameters)
        outcome = "refused" if decision == "refuse" else simulator.switches.callback
        return _finish_consent(simulator, consent_request, outcome, generation)

    return gateway_route(simulator, ["GET"], path, authorize, generation)


def _read_consent_request(
    simulator: SimulatorState, parameters: Mapping[str, str], generation: Generation
) -> _ConsentRequest:
    """Return the request.  Raises Refused if the page shows an error without calling the application back."""
    required = ("client_id", "response_type", "state", "duration")
    if not all(parameters.get(name) for name in required) or len(parameters["state"]) > _LONGEST_STATE:
        raise Refused(oauth_error("invalid_request", "missing_parameter"))
    is_known_client = simulator.options.client_id in (None, parameters["client_id"])
    if not is_known_client or parameters["response_type"] != "code":
        raise Refused(oauth_error("access_denied", "access_denied", 403))
    whole_years_refused = generation is Generation.V2026 and simulator.switches.whole_years_refused
    last_day = _last_day(simulator.clock.today(), parameters["duration"], whole_years_refused)
    callback = simulator.options.redirect_uri or parameters.get("redirect_uri") or USUAL_CALLBACK
    return _ConsentRequest(callback, parameters["state"], last_day, _choose_usage_points(simulator, parameters))


def _last_day(today: date, duration: str, whole_years_refused: bool) -> date:
    """Return the last day of a consent that begins today.  Raises Refused for a duration that Enedis does not take."""
    if "T" in duration:
        # Hours and minutes make the page of Enedis fail.
        raise Refused(oauth_error("server_error", "lincs-internal-server-error", 500))
    try:
        last_day = last_day_of(today, duration)
    except ValueError:
        raise Refused(oauth_error("invalid_request", "invalid_duration_format")) from None
    if last_day > last_day_of(today, _LONGEST_DURATION):
        raise Refused(oauth_error("invalid_request", "maximum_duration_exceeded"))
    if whole_years_refused and "Y" in duration:
        raise Refused(Refusal(400, b"<h1>Une erreur est survenue</h1>", "text/html"))
    return last_day


def _choose_usage_points(simulator: SimulatorState, parameters: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the meters that the holder picks: those of our own parameter, else a sandbox customer's, else None."""
    parts = parameters.get("usage_point_id", "").replace(";", ",").split(",")
    if usage_points := tuple(part.strip() for part in parts if part.strip()):
        return usage_points
    return usage_points_of(parameters["state"]) if simulator.options.sandbox else None


def _finish_consent(
    simulator: SimulatorState, consent_request: _ConsentRequest, outcome: str, generation: Generation
) -> Response:
    if outcome in _FAILURES:
        parameters = _FAILURE_2026 if generation is Generation.V2026 else _FAILURES[outcome]
        return _redirect_back(consent_request, parameters)
    consent = simulator.consents.grant(consent_request.usage_points, consent_request.last_day)
    return _redirect_back(consent_request, _success_parameters(simulator, consent, generation))


def _success_parameters(simulator: SimulatorState, consent: HolderConsent, generation: Generation) -> Mapping[str, str]:
    if generation is Generation.V2026:
        return {"autorisation_id": str(consent.autorisation_id)}
    joined = simulator.switches.usage_point_separator.join(consent.usage_points)
    return {"code": simulator.tokens.issue_code(consent), "usage_point_id": joined}


def _redirect_back(consent_request: _ConsentRequest, parameters: Mapping[str, str]) -> Response:
    separator = "&" if "?" in consent_request.callback else "?"
    return RedirectResponse(
        f"{consent_request.callback}{separator}{urlencode({**parameters, 'state': consent_request.state})}", 302
    )


def _consent_page(path: str, parameters: Mapping[str, str]) -> Response:
    hidden = "".join(
        f'<input type="hidden" name="{escape(name, quote=True)}" value="{escape(value, quote=True)}">'
        for name, value in parameters.items()
    )
    return HTMLResponse(
        '<!doctype html><html lang="fr"><meta name="viewport" content="width=device-width">'
        "<title>Simulateur</title><h1>Partager mes données de consommation</h1>"
        "<p>Page de consentement du simulateur de Relève : aucun compteur réel.</p>"
        f'<form action="{path}" method="get">{hidden}'
        '<button name="decision" value="approve">Accepter</button> '
        '<button name="decision" value="refuse">Refuser</button></form></html>'
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
    """Return the form of a known application that requests one of the grants.  Raises Refused."""
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


def _redeem(simulator: SimulatorState, request: Request, form: Mapping[str, str]) -> HolderConsent:
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


def _user_body(simulator: SimulatorState, consent: HolderConsent) -> Json:
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


class _ServicesQuery(BaseModel):
    model_config = ConfigDict(strict=True)

    autorisationId: int
    comptage: bool
    etatCode: list[str] = ["ACTIF", "DEMANDE"]


def service_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of the exchange with and without a final slash, since clients use both."""

    async def subscribed_services(request: Request) -> Response:
        authorize_call(simulator, request, Generation.V2026, _API)
        try:
            query = _ServicesQuery.model_validate_json(await request.body())
        except ValidationError:
            raise Refused(OUTSIDE_THE_SWAGGER) from None
        return JSONResponse(_services_body(simulator, query))

    return [
        gateway_route(simulator, ["POST"], path, subscribed_services, Generation.V2026, _API)
        for path in (f"/{_API}/v1", f"/{_API}/v1/")
    ]


def _services_body(simulator: SimulatorState, query: _ServicesQuery) -> Json:
    switches = simulator.switches
    if switches.services_empty:
        simulator.switches = switches.with_changes({"services_empty": switches.services_empty - 1})
        raise Refused(NO_SERVICES)
    consent = simulator.consents.find(query.autorisationId)
    if consent is None or "ACTIF" not in query.etatCode:
        return {"nbTotalServices": 0}
    kinds = [
        (usage_point, direction, *kind)
        for usage_point in consent.usage_points
        for direction in _directions(simulator.meters.get(usage_point))
        for kind in _kinds(simulator, usage_point, direction)
    ]
    services = [_service(consent, *kind, rank) for rank, kind in enumerate(kinds)]
    return {"nbTotalServices": len(services)} | ({} if query.comptage else {"serviceSouscrit": services})


def _directions(meter: Meter) -> list[Direction | None]:
    """Return a direction for each group of services; None for the group of a meter that measures nothing."""
    return [direction for direction in Direction if meter.measures(direction)] or [None]


def _kinds(simulator: SimulatorState, usage_point: str, direction: Direction | None) -> list[tuple[str, str]]:
    """Return the kinds of measures that there are of a meter this way, each with its step."""
    meter = simulator.meters.get(usage_point)
    contract = meter.contract(simulator.clock.today())
    draws = direction is Direction.CONSUMPTION
    kinds = {
        ("CDC", f"PT{meter.switches.step}M"): direction is not None and meter.has_curve(direction),
        ("IDX", "P1D"): contract is not None,
        ("PMAX", "P1D"): contract is not None and draws,
        ("ENERGIE", "P1D"): direction is not None,
        ("ITC", "NA"): contract is not None or direction is None,
    }
    return [kind for kind, has in kinds.items() if has]


def _service(
    consent: HolderConsent, usage_point: str, direction: Direction | None, kind: str, step: str, rank: int
) -> Json:
    return {
        "id": str(consent.autorisation_id * 100 + rank),
        "pointId": usage_point,
        "soutirage": direction is Direction.CONSUMPTION,
        "injection": direction is Direction.PRODUCTION,
        "serviceCode": "ACCES",
        "etatCode": "ACTIF",
        "etatLibelle": "Actif",
        "dateDebut": consent.start.isoformat(),
        "dateFin": consent.end.isoformat(),
        "mesuresTypeCode": kind,
        "mesuresPas": step,
        "mesuresCorrigees": False,
        "autorisation": {"autorisationId": consent.autorisation_id, "autorisationType": "EXPLICITE"},
    }
