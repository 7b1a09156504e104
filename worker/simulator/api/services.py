"""The exchange of an authorisation for its usage points, by which the newest generation ends its consent.

Source: upstream-apis, 1.12.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.simulator.api.errors import NO_SERVICES, OUTSIDE_THE_SWAGGER, Generation, to_json
from worker.simulator.api.gateway import behind_gateway, let_through
from worker.simulator.consents import Consent
from worker.simulator.homes.series import Direction
from worker.simulator.state import SimulatorState

_API: Final = "subscribed_services"
_KINDS_OF_MEASURE: Final = (("CDC", "PT30M"), ("IDX", "P1D"), ("PMAX", "P1D"), ("ENERGIE", "P1D"))


def service_routes(world: SimulatorState) -> list[Route]:
    """With and without the final slash: both are in use."""

    async def subscribed_services(request: Request) -> Response:
        caller = let_through(world, request, Generation.V2026, _API)
        if isinstance(caller, Response):
            return caller
        wish = _json_object(await request.body())
        if wish is None or type(wish.get("autorisationId")) is not int or type(wish.get("comptage")) is not bool:
            status, body = OUTSIDE_THE_SWAGGER
            return to_json(body, status)
        if (empty := _not_yet(world)) is not None:
            return empty
        return to_json(_services_body(world, wish))

    return [
        Route(path, behind_gateway(world, subscribed_services, path, Generation.V2026, _API), methods=["POST"])
        for path in (f"/{_API}/v1", f"/{_API}/v1/")
    ]


def _json_object(body: bytes) -> dict[str, Json] | None:
    try:
        parsed = json.loads(body)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _not_yet(world: SimulatorState) -> Response | None:
    """While switched on: no service is known yet, in one of the forms that were seen."""
    if not world.switches.services_empty:
        return None
    world.switches = world.switches.changed({"services_empty": world.switches.services_empty - 1})
    form = world.switches.services_form
    if form == "refused":
        return NO_SERVICES.respond(Generation.V2026)
    lists: Mapping[str, Json] = {"null": {"serviceSouscrit": None}, "list": {"serviceSouscrit": []}}
    return to_json({"nbTotalServices": 0} | lists.get(form, {}))


def _services_body(world: SimulatorState, wish: Mapping[str, Json]) -> Json:
    consent = world.consents.by_autorisation(wish["autorisationId"])
    wanted_states = wish.get("etatCode") or ["ACTIF", "DEMANDE"]
    if consent is None or world.switches.services_state not in wanted_states:
        return {"nbTotalServices": 0}
    services = [
        _service(world, consent, usage_point, kind, step, rank)
        for rank, (usage_point, kind, step) in enumerate(
            (usage_point, kind, step) for usage_point in consent.usage_points for kind, step in _KINDS_OF_MEASURE
        )
    ]
    if wish["comptage"]:
        return {"nbTotalServices": len(services)}
    return {"nbTotalServices": len(services), "serviceSouscrit": services}


def _service(world: SimulatorState, consent: Consent, usage_point: str, kind: str, step: str, rank: int) -> Json:
    measured = world.meters.get(usage_point).measured
    state = world.switches.services_state
    return {
        "id": str(consent.autorisation_id * 100 + rank),
        "pointId": usage_point,
        "soutirage": measured.measures(Direction.CONSUMPTION),
        "injection": measured.measures(Direction.PRODUCTION),
        "serviceCode": "ACCES",
        "etatCode": state,
        "etatLibelle": state.capitalize(),
        "dateDebut": consent.start.isoformat(),
        "dateFin": consent.end.isoformat(),
        "mesuresTypeCode": kind,
        "mesuresPas": step,
        "mesuresCorrigees": False,
        "autorisation": {"autorisationId": consent.autorisation_id, "autorisationType": "EXPLICITE"},
    }
