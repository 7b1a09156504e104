"""Puts the simulator together: one Starlette application for all generations of the supplier."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from worker.simulator.api.admin import admin_routes
from worker.simulator.api.consent import consent_routes
from worker.simulator.api.errors import FIREWALL, Generation
from worker.simulator.api.gateway import behind_gateway
from worker.simulator.api.measures import data_routes
from worker.simulator.api.services import service_routes
from worker.simulator.api.tokens import token_routes
from worker.simulator.options import SimulatorOptions
from worker.simulator.state import SimulatorState, build_state


def create_app(options: SimulatorOptions) -> Starlette:
    """The pretend supplier.  Raises BrokenRecording when ``data_dir`` can't be served."""
    world = build_state(options)
    routes = [
        *admin_routes(world),
        *consent_routes(world),
        *service_routes(world),
        *token_routes(world),
        *data_routes(world),
        _anything_else(world),
    ]
    return Starlette(routes=routes)


def _anything_else(world: SimulatorState) -> Route:
    """The web firewall answers for paths that nobody serves."""

    async def reject(request: Request) -> Response:
        return FIREWALL.respond(Generation.V5)

    methods = ["GET", "POST", "PUT", "DELETE"]
    return Route("/{path:path}", behind_gateway(world, reject, "elsewhere", Generation.V5), methods=methods)
