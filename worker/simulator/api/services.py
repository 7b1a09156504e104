"""Exchange of an ``autorisation_id`` for its usage points, the last step of a Data Connect 2026 consent.

Source: Enedis, swagger "Services souscrits".
"""

from __future__ import annotations

from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.simulator.api.errors import NO_SERVICES, OUTSIDE_THE_SWAGGER, Generation, Refused
from worker.simulator.api.gateway import authorize_call, gateway_route
from worker.simulator.consents import Consent
from worker.simulator.state import SimulatorState

_API: Final = "subscribed_services"
_MEASURES_AND_STEPS: Final = (("CDC", "PT30M"), ("IDX", "P1D"), ("PMAX", "P1D"), ("ENERGIE", "P1D"))


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
    measures = [(point, *measure) for point in consent.usage_points for measure in _MEASURES_AND_STEPS]
    services = [_service(simulator, consent, *measure, rank) for rank, measure in enumerate(measures)]
    return {"nbTotalServices": len(services)} | ({} if query.comptage else {"serviceSouscrit": services})


def _service(simulator: SimulatorState, consent: Consent, usage_point: str, kind: str, step: str, rank: int) -> Json:
    return {
        "id": str(consent.autorisation_id * 100 + rank),
        "pointId": usage_point,
        "soutirage": simulator.meters.get(usage_point).series.consumes,
        "injection": simulator.meters.get(usage_point).series.feeds_in,
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
