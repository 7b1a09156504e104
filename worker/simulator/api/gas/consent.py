"""GRDF's consent page (Client Connect) and its callback.

Source: the public clients aeneria and Grand Lyon's app (parameters and callback).  That a refusal comes back with the
``error`` of OAuth is inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from html import escape
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from worker.simulator.api.errors import Generation, Refused, oauth_error
from worker.simulator.api.gas.requests import is_pce
from worker.simulator.api.gas.tokens import ISSUER
from worker.simulator.api.gateway import gateway_route
from worker.simulator.state import SimulatorState

AUTHORIZE_PATH: Final = "/openam/oauth2/realms/externeGrdf/authorize"
_CONSENT_DAYS: Final = timedelta(days=3 * 365)
_MOST_SHOWN: Final = 20


def gas_consent_routes(simulator: SimulatorState) -> list[Route]:
    """Return the route of the consent page."""

    async def authorize(request: Request) -> Response:
        parameters = request.query_params
        _check_request(simulator, parameters)
        decision = parameters.get("decision")
        if decision == "refuse":
            refusal = {"error": "access_denied", "error_description": "Resource Owner did not authorize the request"}
            return _redirect_back(parameters, refusal)
        pces = _named(parameters) or simulator.gas.switches.chosen
        is_known = all(is_pce(pce) and simulator.gas.meters.knows(pce) for pce in pces)
        if (simulator.options.consent_page and decision is None) or not is_known:
            return _consent_page(simulator, parameters, is_known)
        return _accept(simulator, parameters, pces)

    return [gateway_route(simulator, ["GET"], AUTHORIZE_PATH, authorize, Generation.ADICT)]


def _check_request(simulator: SimulatorState, parameters: Mapping[str, str]) -> None:
    """Raise Refused where the page shows an error without calling the application back."""
    required = ("client_id", "response_type", "scope", "redirect_uri", "state")
    missing = [name for name in required if not parameters.get(name)]
    if missing:
        raise Refused(oauth_error("invalid_request", f"Missing parameter: {missing[0]}"))
    if simulator.options.client_id not in (None, parameters["client_id"]):
        raise Refused(oauth_error("invalid_client", "Client authentication failed"))
    if parameters["response_type"] != "code" or "openid" not in parameters["scope"].split():
        raise Refused(oauth_error("invalid_scope", "Unknown/invalid scope(s) or response type"))


def _named(parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Return the meters that the holder named, in a parameter of ours; none for those of the next holder."""
    return tuple(part.strip() for part in parameters.get("pce", "").split(",") if part.strip())


def _accept(simulator: SimulatorState, parameters: Mapping[str, str], pces: tuple[str, ...]) -> Response:
    consent = simulator.gas.consents.grant(pces or None, simulator.clock.today() + _CONSENT_DAYS)
    for pce in consent.usage_points:
        simulator.gas.rights.grant(pce)
    code = simulator.gas.tokens.issue_code(consent)
    simulator.gas.grants[code] = parameters["redirect_uri"]
    return _redirect_back(parameters, {"code": code, "iss": ISSUER, "client_id": parameters["client_id"]})


def _redirect_back(parameters: Mapping[str, str], answer: Mapping[str, str]) -> Response:
    callback = parameters["redirect_uri"]
    query = urlencode({**answer, "state": parameters["state"]})
    return RedirectResponse(f"{callback}{'&' if '?' in callback else '?'}{query}", 302)


def _consent_page(simulator: SimulatorState, parameters: Mapping[str, str], is_known: bool) -> Response:
    hidden = "".join(
        f'<input type="hidden" name="{escape(name, quote=True)}" value="{escape(value, quote=True)}">'
        for name, value in parameters.items()
        if name not in ("pce", "decision")
    )
    known = "".join(f"<option>{pce}</option>" for pce in sorted(simulator.gas.meters.recorded)[:_MOST_SHOWN])
    error = "" if is_known else '<p role="alert">Ce PCE est inconnu : 14 chiffres, ou GI et 6 chiffres.</p>'
    return HTMLResponse(
        '<!doctype html><html lang="fr"><meta name="viewport" content="width=device-width">'
        "<title>Simulateur</title><h1>Partager mes données de gaz</h1>"
        "<p>Page de consentement GRDF du simulateur de Relève : aucun compteur réel.</p>"
        f'{error}<form action="{AUTHORIZE_PATH}" method="get">{hidden}'
        f'<label>PCE <input name="pce" list="pce" value="{escape(parameters.get("pce", ""), quote=True)}"></label>'
        f'<datalist id="pce">{known}</datalist> '
        '<button name="decision" value="approve">Accepter</button> '
        '<button name="decision" value="refuse">Refuser</button></form></html>'
    )
