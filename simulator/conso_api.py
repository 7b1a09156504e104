"""The simulated gateway: the routes of conso-api, with a token for each home, and bans.

    GET /api/consommation_quotidienne?pointId=…&dateDebut=2024-07-18&dateFin=2024-07-25     Authorization: Bearer JWT
    GET /gateway/token?meters=2&days=20     in place of its page: a token for the first homes, as plain text

Enedis' answers are passed on: its errors inside ``error``, its measures as they are (2026), or without
``meter_reading`` (v5). Source: conso-api's code and documentation in November 2026, and recorded answers of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import jwt
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from simulator.call_gate import RESOURCES, Resource, gateway_route, is_usage_point, read_query
from simulator.enedis_endpoints import measures_of
from simulator.enedis_refusals import Generation, Refusal, Refused
from simulator.running_state import SimulatorState
from worker.domain.answers import Json

_LIFE_DAYS: Final = 1_093
_MOST_METERS: Final = 20
_OLDER_NAMES: Final = {"prm": "pointId", "start": "dateDebut", "end": "dateFin"}
# What conso-api sends to Enedis if the caller does not name it.
_DEFAULTS: Final = {"mesuresPas": "P1D", "grandeurPhysique": "PMA"}
_BANNED: Final = Refusal(
    403,
    b"<!DOCTYPE html>\n<html lang='en-US'>\n<head><title>Attention Required! | Cloudflare</title></head>\n"
    b"<body><h1>Sorry, you have been blocked</h1></body>\n</html>\n",
    "text/html; charset=UTF-8",
)


def conso_api_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of the gateway."""

    async def measures(request: Request) -> Response:
        address = request.client.host if request.client else ""
        if simulator.bans.count(address, simulator.clock.local_now()):
            raise Refused(_BANNED)
        if request.method != "GET":
            raise Refused(_own(405, "Méthode non autorisée"))
        return JSONResponse(_answer(simulator, request))

    async def token(request: Request) -> Response:
        query = request.query_params
        try:
            count, days = int(query.get("meters") or 1), int(query.get("days") or _LIFE_DAYS)
            meters = query.getlist("usage_point") or simulator.consents.first_usage_points(min(count, _MOST_METERS))
        except ValueError:
            return PlainTextResponse("meters and days are whole numbers, such as ?meters=2&days=20\n", 400)
        return PlainTextResponse(_make_token(simulator, meters, days) + "\n")

    methods = ["GET", "POST", "PUT", "DELETE"]
    return [
        gateway_route(simulator, methods, "/api/{type}", measures, Generation.GATEWAY, "gateway"),
        Route("/gateway/token", token),
    ]


def _answer(simulator: SimulatorState, request: Request) -> Json:
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise Refused(_own(400, "L'en-tête Authorization est manquant ou invalide"))
    resource = _resource_of(str(request.path_params["type"]), simulator.switches.gateway_bodies)
    parameters = {_OLDER_NAMES.get(name, name): value for name, value in request.query_params.items()}
    meter = parameters.get("pointId", "")
    if resource is None or not is_usage_point(meter) or not {"dateDebut", "dateFin"} <= parameters.keys():
        raise Refused(_own(400, "Paramètres invalides", error=[{"code": "invalid_type", "path": ["pointId"]}]))
    if meter not in _meters_of(simulator, secret.strip()):
        raise Refused(_own(401, "Votre token est invalide ou ne permet pas d'accéder à ce PRM"))
    body = measures_of(simulator, read_query(resource, _in_words_of(resource, parameters)), None)
    return body.get("meter_reading", body) if isinstance(body, dict) else body


def _resource_of(kind: str, bodies: str) -> Resource | None:
    """Return the endpoint of Enedis behind a type; the older names of types have only the older bodies."""
    generation = Generation.V5 if bodies == "v5" else Generation.V2026
    for resource in RESOURCES:
        if (kind, generation) == (resource.measure.name_2026, resource.generation):
            return resource
        if (kind, Generation.V5) == (resource.measure.name, resource.generation):
            return resource
    return None


def _in_words_of(resource: Resource, parameters: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters that Enedis gets, in the words of its generation."""
    names = {"pointId": "usage_point_id", "dateDebut": "start", "dateFin": "end"}
    if resource.generation is Generation.V5:
        return {older: parameters[name] for name, older in names.items()}
    further = {name: parameters.get(name, _DEFAULTS[name]) for name in resource.measure.further}
    return {name: parameters[name] for name in names} | further


def _own(status: int, message: str, **more: Json) -> Refusal:
    """Return an error of the gateway itself; as bytes, for no envelope goes around it."""
    body = {"status": status, "message": message, **more}
    return Refusal(status, json.dumps(body, ensure_ascii=False).encode())


def _key(simulator: SimulatorState) -> bytes:
    # By the seed, so that a token outlives the simulator that made it.
    return blake2b(f"gateway/{simulator.options.seed}".encode()).digest()


def _make_token(simulator: SimulatorState, meters: list[str], days: int) -> str:
    """Return a token as conso-api makes it. Tokens age in real time, whatever the simulator's clock shows."""
    now = int(time.time())
    claims = {"sub": meters, "iat": now, "exp": now + days * 24 * 3600}
    return jwt.encode(claims, _key(simulator), algorithm="HS256")


def _meters_of(simulator: SimulatorState, token: str) -> list[str]:
    """Return the meters that a token is for; none of one that is wrong or has expired."""
    try:
        # The claim ``sub`` is a list there, which the standard doesn't know.
        claims = jwt.decode(token, _key(simulator), algorithms=["HS256"], options={"verify_sub": False})
    except jwt.PyJWTError:
        return []
    meters = claims.get("sub")
    return meters if isinstance(meters, list) else [str(meters)]
