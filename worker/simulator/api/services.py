"""Exchange of an ``autorisation_id`` for its usage points, the last step of a Data Connect 2026 consent.

Source: Enedis, swagger "Services souscrits".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.simulator.api.errors import NO_SERVICES, OUTSIDE_THE_SWAGGER, Generation, to_json_response
from worker.simulator.api.gateway import authorize_call, wrap_in_gateway
from worker.simulator.consents import Consent
from worker.simulator.homes.series import Direction
from worker.simulator.state import SimulatorState

_API: Final = "subscribed_services"
_MEASURES_AND_STEPS: Final = (("CDC", "PT30M"), ("IDX", "P1D"), ("PMAX", "P1D"), ("ENERGIE", "P1D"))


def service_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of the exchange with and without a final slash, since clients use both."""

    async def subscribed_services(request: Request) -> Response:
        caller = authorize_call(simulator, request, Generation.V2026, _API)
        if isinstance(caller, Response):
            return caller
        parameters = _parse_json_object(await request.body())
        if (
            parameters is None
            or type(parameters.get("autorisationId")) is not int
            or type(parameters.get("comptage")) is not bool
        ):
            status, body = OUTSIDE_THE_SWAGGER
            return to_json_response(body, status)
        if (empty := _take_empty_answer(simulator)) is not None:
            return empty
        return to_json_response(_services_body(simulator, parameters))

    return [
        Route(path, wrap_in_gateway(simulator, subscribed_services, path, Generation.V2026, _API), methods=["POST"])
        for path in (f"/{_API}/v1", f"/{_API}/v1/")
    ]


def _parse_json_object(body: bytes) -> dict[str, Json] | None:
    try:
        parsed = json.loads(body)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _take_empty_answer(simulator: SimulatorState) -> Response | None:
    """Return the answer "no service yet" in the form that is switched on; None where services are known."""
    if not simulator.switches.services_empty:
        return None
    simulator.switches = simulator.switches.with_changes({"services_empty": simulator.switches.services_empty - 1})
    form = simulator.switches.services_form
    if form == "refused":
        return NO_SERVICES.respond(Generation.V2026)
    lists: Mapping[str, Json] = {"null": {"serviceSouscrit": None}, "list": {"serviceSouscrit": []}}
    return to_json_response({"nbTotalServices": 0} | lists.get(form, {}))


def _services_body(simulator: SimulatorState, parameters: Mapping[str, Json]) -> Json:
    consent = simulator.consents.find(parameters["autorisationId"])
    wanted_states = parameters.get("etatCode") or ["ACTIF", "DEMANDE"]
    if consent is None or simulator.switches.services_state not in wanted_states:
        return {"nbTotalServices": 0}
    services = [
        _service(simulator, consent, usage_point, kind, step, rank)
        for rank, (usage_point, kind, step) in enumerate(
            (usage_point, kind, step) for usage_point in consent.usage_points for kind, step in _MEASURES_AND_STEPS
        )
    ]
    if parameters["comptage"]:
        return {"nbTotalServices": len(services)}
    return {"nbTotalServices": len(services), "serviceSouscrit": services}


def _service(simulator: SimulatorState, consent: Consent, usage_point: str, kind: str, step: str, rank: int) -> Json:
    series = simulator.meters.get(usage_point).series
    service_state = simulator.switches.services_state
    return {
        "id": str(consent.autorisation_id * 100 + rank),
        "pointId": usage_point,
        "soutirage": series.measures(Direction.CONSUMPTION),
        "injection": series.measures(Direction.PRODUCTION),
        "serviceCode": "ACCES",
        "etatCode": service_state,
        "etatLibelle": service_state.capitalize(),
        "dateDebut": consent.start.isoformat(),
        "dateFin": consent.end.isoformat(),
        "mesuresTypeCode": kind,
        "mesuresPas": step,
        "mesuresCorrigees": False,
        "autorisation": {"autorisationId": consent.autorisation_id, "autorisationType": "EXPLICITE"},
    }
