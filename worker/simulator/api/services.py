"""Exchange of an ``autorisation_id`` for its usage points, the last step of a Data Connect 2026 consent.

A meter that both draws and feeds in has two groups of services, as clients have reported.

Source: Enedis, swagger "Services souscrits".
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.domain.measures.series import Direction
from worker.simulator.api.errors import NO_SERVICES, OUTSIDE_THE_SWAGGER, Generation, Refused
from worker.simulator.api.gateway import authorize_call, gateway_route
from worker.simulator.consents import Consent
from worker.simulator.homes.meters import Meter
from worker.simulator.state import SimulatorState

_API: Final = "subscribed_services"


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


def _service(consent: Consent, usage_point: str, direction: Direction | None, kind: str, step: str, rank: int) -> Json:
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
