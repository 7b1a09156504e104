"""Starlette application of the simulator, for all generations of the Enedis API, for GRDF's, and for a gateway."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from worker.simulator.api.admin import admin_routes
from worker.simulator.api.consent import consent_routes
from worker.simulator.api.conso_api import conso_api_routes
from worker.simulator.api.contracts import contract_routes
from worker.simulator.api.errors import ERROR_TABLE, Generation, Refused
from worker.simulator.api.gas.routes import gas_routes
from worker.simulator.api.gateway import gateway_route
from worker.simulator.api.measures import data_routes
from worker.simulator.api.services import service_routes
from worker.simulator.api.tokens import token_routes
from worker.simulator.homes.recordings import RecordedFolder, read_folder
from worker.simulator.options import SimulatorOptions
from worker.simulator.state import SimulatorState


def create_app(options: SimulatorOptions, on_recordings: Callable[[RecordedFolder], None] | None = None) -> Starlette:
    """Return the simulator's application; ``on_recordings`` receives what ``data_dir`` holds.

    Raises BrokenRecording where ``data_dir`` can't be served.
    """
    recordings = read_folder(options.data_dir) if options.data_dir else RecordedFolder()
    if on_recordings is not None:
        on_recordings(recordings)
    simulator = SimulatorState(options, recordings)
    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return Starlette(
        routes=[
            *admin_routes(simulator),
            *consent_routes(simulator),
            *service_routes(simulator),
            *token_routes(simulator),
            *data_routes(simulator),
            *contract_routes(simulator),
            *gas_routes(simulator),
            *conso_api_routes(simulator),
            gateway_route(simulator, methods, "/{path:path}", _reject, Generation.V5),
        ]
    )


async def _reject(request: Request) -> Response:
    """Answer every unknown path as the supplier's web firewall does."""
    raise Refused(ERROR_TABLE["firewall"])
