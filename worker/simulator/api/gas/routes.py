"""All routes of GRDF."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.simulator.api.errors import Generation
from worker.simulator.api.gas.consent import gas_consent_routes
from worker.simulator.api.gas.contracts import gas_contract_routes
from worker.simulator.api.gas.measures import gas_data_routes
from worker.simulator.api.gas.refusals import authentication_error
from worker.simulator.api.gas.requests import API, BASES, authorize_call
from worker.simulator.api.gas.rights import right_routes
from worker.simulator.api.gas.tokens import gas_token_routes
from worker.simulator.api.gateway import gateway_route
from worker.simulator.state import SimulatorState


def gas_routes(simulator: SimulatorState) -> list[Route]:
    """Return the routes of GRDF: tokens, consent page, data and rights, of production and sandbox."""

    async def without_pce(request: Request) -> Response:
        authorize_call(simulator, request)
        raise authentication_error(403, "Vous n'êtes pas autorisé à accéder à la ressource.")

    return [
        *gas_token_routes(simulator),
        *gas_consent_routes(simulator),
        *gas_data_routes(simulator),
        *gas_contract_routes(simulator),
        *right_routes(simulator),
        *(
            gateway_route(simulator, ["GET"], f"{base}/pce//{{call}}", without_pce, Generation.ADICT, API)
            for base in BASES
        ),
    ]
