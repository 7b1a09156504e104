"""Consent page and its callback.

Source: Enedis, swagger of the Data Connect authorize API (v1); for v2, answers reported by its clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from html import escape
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from worker.domain.consent.durations import last_day_of
from worker.simulator.api.errors import Generation, Refusal, Refused, oauth_error
from worker.simulator.api.gateway import gateway_route
from worker.simulator.consents import Consent
from worker.simulator.homes.sandbox import usage_points_of
from worker.simulator.state import SimulatorState

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
    """Return the request.  Raises Refused where the page shows an error without calling the application back."""
    required = ("client_id", "response_type", "state", "duration")
    if not all(parameters.get(name) for name in required) or len(parameters["state"]) > _LONGEST_STATE:
        raise Refused(oauth_error("invalid_request", "missing_parameter"))
    is_known_client = simulator.options.client_id in (None, parameters["client_id"])
    if not is_known_client or parameters["response_type"] != "code":
        raise Refused(oauth_error("access_denied", "access_denied", 403))
    whole_years_refused = generation is Generation.V2026 and simulator.switches.whole_years_refused
    last_day = _last_day(simulator.clock.today(), parameters["duration"], whole_years_refused)
    callback = simulator.options.redirect_uri or parameters.get("redirect_uri")
    if not callback:
        text = "no callback is registered: start the simulator with --redirect-uri, or send redirect_uri"
        raise Refused(oauth_error("invalid_request", text))
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


def _success_parameters(simulator: SimulatorState, consent: Consent, generation: Generation) -> Mapping[str, str]:
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
