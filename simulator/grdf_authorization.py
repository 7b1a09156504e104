"""Authorization at GRDF: the consent page (Client Connect) with its callback, and the token endpoint, as Okta answers.

Tokens are the application's, and the ``id_token`` that a consent ends with.

Source of page and callback: the public clients aeneria and Grand Lyon's app (parameters and callback).  That a refusal
comes back with the ``error`` of OAuth is inferred.

Source of the tokens: the public clients of ADICT (form of the request, life, widened scope, claims); the swagger for
HS256.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import timedelta
from html import escape
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from simulator.call_gate import gateway_route
from simulator.enedis_refusals import Generation, Refusal, Refused, oauth_error
from simulator.grdf_endpoints import BASES, is_pce
from simulator.running_state import CLIENT_CONNECT, HolderConsent, SimulatorState
from worker.domain.answers import Json

TOKEN_PATH: Final = "/oauth2/aus5y2ta2uEHjCWIR417/v1/token"  # noqa: S105 - an address
ISSUER: Final = "https://sofit-sso-oidc.grdf.fr:443/openam/oauth2/externeGrdf"
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_SCOPES: Final = {base: f"{base} u0001 ESSAI" for base in BASES}  # GRDF adds words of its own.
_ID_TOKEN_LIFE_S: Final = 3_600
_PAIR_PCE: Final = "GI000000"  # Beside the holder's own, if the id_token names several.
AUTHORIZE_PATH: Final = "/openam/oauth2/realms/externeGrdf/authorize"
_CONSENT_DAYS: Final = timedelta(days=3 * 365)
_MOST_SHOWN: Final = 20


def gas_token_routes(simulator: SimulatorState) -> list[Route]:
    """Return the route of the token endpoint."""

    async def token(request: Request) -> Response:
        form = await _read_form(simulator, request)
        if form["grant_type"] == "client_credentials":
            body = _application_body(simulator, form)
        elif form["grant_type"] == "authorization_code":
            body = _user_body(simulator, form, _redeem(simulator, form))
        else:
            raise _okta_error("unsupported_grant_type", "The authorization grant type is not supported.")
        simulator.gas.report.add_token(form["grant_type"])
        return JSONResponse(body)

    return [gateway_route(simulator, ["POST"], TOKEN_PATH, token, Generation.ADICT)]


def _okta_error(error: str, description: str, status: int = 400) -> Refused:
    """Return a refusal in one of Okta's two shapes: ``error`` for OAuth, ``errorSummary`` for a wrong client."""
    if error == "invalid_client":
        body = {
            "errorCode": error,
            "errorSummary": description,
            "errorLink": error,
            "errorId": "oae0",
            "errorCauses": [],
        }
        return Refused(Refusal(status, body))
    return Refused(Refusal(status, {"error": error, "error_description": description}))


async def _read_form(simulator: SimulatorState, request: Request) -> Mapping[str, str]:
    """Return the form of a known application.  Raises Refused."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != _FORM_TYPE:
        raise _okta_error("invalid_request", "Accept and/or Content-Type headers must be form-urlencoded.")
    form = {name: str(value) for name, value in (await request.form()).items()}
    client_id, secret = form.get("client_id", ""), form.get("client_secret", "")
    options = simulator.options
    is_known = options.client_id is None or (client_id, secret) == (options.client_id, options.client_secret)
    if not client_id or not secret or not is_known:
        raise _okta_error("invalid_client", "Invalid value for 'client_id' parameter.", 401)
    if not form.get("grant_type"):
        raise _okta_error("invalid_request", "The token request must specify a grant type.")
    return form


def _application_body(simulator: SimulatorState, form: Mapping[str, str]) -> Json:
    if form.get("scope") not in _SCOPES:
        raise _okta_error("invalid_scope", "The scope must be one of the custom scopes of the API.")
    life_s = simulator.gas.switches.token_life_s
    token = simulator.gas.tokens.issue(None, life_s)
    return {"access_token": token, "scope": _SCOPES[form["scope"]], "token_type": "Bearer", "expires_in": life_s}


def _redeem(simulator: SimulatorState, form: Mapping[str, str]) -> HolderConsent:
    code = form.get("code", "")
    callback = simulator.gas.grants.pop(code, None)
    consent = simulator.gas.tokens.redeem_code(code)
    if consent is None or callback != form.get("redirect_uri"):
        raise _okta_error("invalid_grant", "The authorization code is invalid or has expired.")
    return consent


def _user_body(simulator: SimulatorState, form: Mapping[str, str], consent: HolderConsent) -> Json:
    life_s = simulator.gas.switches.token_life_s
    return {
        "access_token": simulator.gas.tokens.issue(consent, life_s),
        "scope": "openid",
        "id_token": _id_token(simulator, form, consent),
        "token_type": "Bearer",
        "expires_in": life_s,
    }


def _id_token(simulator: SimulatorState, form: Mapping[str, str], consent: HolderConsent) -> str:
    """Return the signed claims; ``consentements`` is a text that holds JSON, unless a switch says otherwise."""
    issued_at = int(simulator.clock.now().timestamp())
    claims = {
        "at_hash": "aaaaaaaaaaaaaaaaaaaaaa",
        "sub": "u0001",
        "auditTrackingId": "00000000-0000-0000-0000-000000000001",
        "iss": ISSUER,
        "tokenName": "id_token",
        "aud": form["client_id"],
        "azp": form["client_id"],
        "c_hash": "bbbbbbbbbbbbbbbbbbbbbb",
        "acr": "0",
        "org.forgerock.openidconnect.ops": "opsexample",
        "auth_time": issued_at,
        "realm": "/externeGrdf",
        **_consents(simulator, consent),
        "iat": issued_at,
        "exp": issued_at + _ID_TOKEN_LIFE_S,
        "tokenType": "JWTToken",
    }
    head = _base64url(json.dumps({"typ": "JWT", "alg": "HS256"}).encode())
    signed = f"{head}.{_base64url(json.dumps(claims).encode())}"
    signature = hmac.new(form["client_secret"].encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_base64url(signature)}"


def _consents(simulator: SimulatorState, consent: HolderConsent) -> dict[str, Json]:
    kind = simulator.gas.switches.consents
    if kind == "none":
        return {}
    pces = [*consent.usage_points, *([_PAIR_PCE] if kind == "several" else [])]
    items = [{"pce": pce, "id_accreditation": _right_id(simulator, pce)} for pce in pces]
    return {"consentements": items if kind == "list" else json.dumps(items)}


def _right_id(simulator: SimulatorState, pce: str) -> str:
    rights = simulator.gas.rights.of_pce(pce, sandbox=True)
    given = [right.id for right in rights if right.journey == CLIENT_CONNECT]
    return given[0] if given else "00000000-0000-0000-0000-000000000002"


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


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
    """Raise Refused if the page shows an error without calling the application back."""
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
