"""The consent page and its callback.  Source: upstream-apis, 1.3 and 1.12."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from html import escape
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from worker.simulator.api.errors import Generation, to_json
from worker.simulator.api.gateway import behind_gateway, single_parameters
from worker.simulator.consents import Consent, WrongDuration, parse_duration
from worker.simulator.homes.sandbox import usage_points_of
from worker.simulator.state import SimulatorState

_LONGEST_STATE: Final = 100
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
class _Wish:
    """A well-formed request for consent."""

    callback: str
    state: str
    duration: timedelta
    usage_points: tuple[str, ...] | None


def consent_routes(world: SimulatorState) -> list[Route]:
    return [
        _authorize_route(world, "/dataconnect/v1/oauth2/authorize", Generation.V5),
        _authorize_route(world, "/dataconnect/v2/oauth2/authorize", Generation.V2026),
    ]


def _authorize_route(world: SimulatorState, path: str, generation: Generation) -> Route:
    async def authorize(request: Request) -> Response:
        parameters = single_parameters(request)
        wish = _read_wish(world, parameters, generation)
        if isinstance(wish, Response):
            return wish
        decision = parameters.get("decision")
        if (world.options.consent_page or parameters.get("ask") == "1") and decision is None:
            return _page(path, parameters)
        outcome = "refused" if decision == "refuse" else world.switches.callback
        return _callback(world, wish, outcome, generation)

    return Route(path, behind_gateway(world, authorize, path, generation), methods=["GET"])


def _read_wish(world: SimulatorState, parameters: Mapping[str, str], generation: Generation) -> _Wish | Response:
    """The request, or the error that the page itself shows."""
    required = ("client_id", "response_type", "state", "duration")
    if not all(parameters.get(name) for name in required) or len(parameters["state"]) > _LONGEST_STATE:
        return _shown("invalid_request", "missing_parameter")
    known = world.options.any_application or parameters["client_id"] == world.options.client_id
    if not known or parameters["response_type"] != "code":
        return _shown("access_denied", "access_denied", 403)
    try:
        duration = parse_duration(parameters["duration"])
    except WrongDuration as error:
        if "T" in parameters["duration"]:  # hours and minutes break their page
            return _shown("server_error", "lincs-internal-server-error", 500)
        return _shown("invalid_request", str(error))
    if generation is Generation.V2026 and world.switches.whole_years_refused and "Y" in parameters["duration"]:
        return HTMLResponse("<h1>Une erreur est survenue</h1>", 400)
    callback = world.options.redirect_uri or parameters.get("redirect_uri")
    if not callback:
        return _shown(
            "invalid_request", "no callback is registered here: start the simulator with one, or send redirect_uri"
        )
    return _Wish(callback, parameters["state"], duration, _chosen(world, parameters))


def _chosen(world: SimulatorState, parameters: Mapping[str, str]) -> tuple[str, ...] | None:
    """Which meters the holder picks: a hint of ours, or a sandbox customer; else a home nobody has seen."""
    hinted = tuple(part for part in parameters.get("usage_point_id", "").replace(";", ",").split(",") if part.strip())
    if hinted:
        return tuple(part.strip() for part in hinted)
    sandbox = world.options.sandbox or parameters.get("sandbox") == "1"
    return usage_points_of(parameters["state"]) if sandbox else None


def _shown(error: str, description: str, status: int = 400) -> Response:
    return to_json({"error": error, "error_description": description}, status)


def _callback(world: SimulatorState, wish: _Wish, outcome: str, generation: Generation) -> Response:
    if outcome == "shared_already":  # that page never returns to the application
        return HTMLResponse("<h1>Vous partagez déjà vos données avec cette application</h1>")
    if outcome in _FAILURES:
        answer = _FAILURE_2026 if generation is Generation.V2026 else _FAILURES[outcome]
        return _back(wish, answer)
    consent = world.consents.give(wish.usage_points, wish.duration)
    response = _back(wish, _success(world, consent, generation))
    if outcome == "twice":
        address = escape(response.headers["location"], quote=True)
        return HTMLResponse(f'<iframe src="{address}"></iframe><meta http-equiv="refresh" content="0;url={address}">')
    return response


def _success(world: SimulatorState, consent: Consent, generation: Generation) -> Mapping[str, str]:
    if generation is Generation.V2026:
        return {"autorisation_id": str(consent.autorisation_id)}
    joined = world.switches.usage_point_separator.join(consent.usage_points)
    return {"code": world.tokens.issue_code(consent), "usage_point_id": joined}


def _back(wish: _Wish, answer: Mapping[str, str]) -> Response:
    joint = "&" if "?" in wish.callback else "?"
    return RedirectResponse(f"{wish.callback}{joint}{urlencode({**answer, 'state': wish.state})}", 302)


def _page(path: str, parameters: Mapping[str, str]) -> Response:
    hidden = "".join(
        f'<input type="hidden" name="{escape(name, quote=True)}" value="{escape(value, quote=True)}">'
        for name, value in parameters.items()
    )
    return HTMLResponse(
        '<!doctype html><html lang="fr"><title>Simulateur</title><h1>Partager mes données de consommation</h1>'
        "<p>Page de consentement du simulateur de Relève : aucun compteur réel.</p>"
        f'<form action="{path}" method="get">{hidden}'
        '<button name="decision" value="approve">Accepter</button> '
        '<button name="decision" value="refuse">Refuser</button></form></html>'
    )
