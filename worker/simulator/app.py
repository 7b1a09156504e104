"""Starlette application of the simulator, for all generations of the Enedis API."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.simulator.api.admin import admin_routes
from worker.simulator.api.consent import consent_routes
from worker.simulator.api.errors import FIREWALL, Generation
from worker.simulator.api.gateway import wrap_in_gateway
from worker.simulator.api.measures import data_routes
from worker.simulator.api.services import service_routes
from worker.simulator.api.tokens import token_routes
from worker.simulator.options import SimulatorOptions
from worker.simulator.state import SimulatorState, build_state


def create_app(options: SimulatorOptions) -> Starlette:
    """Return the simulator's application.  Raises BrokenRecording where ``data_dir`` can't be served."""
    simulator = build_state(options)
    routes = [
        *admin_routes(simulator),
        *consent_routes(simulator),
        *service_routes(simulator),
        *token_routes(simulator),
        *data_routes(simulator),
        _fallback_route(simulator),
    ]
    return Starlette(routes=routes)


def _fallback_route(simulator: SimulatorState) -> Route:
    """Return the route that answers every unknown path as the supplier's web firewall does."""

    async def reject(request: Request) -> Response:
        return FIREWALL.respond(Generation.V5)

    methods = ["GET", "POST", "PUT", "DELETE"]
    return Route("/{path:path}", wrap_in_gateway(simulator, reject, "elsewhere", Generation.V5), methods=methods)
