"""Starlette application of the simulator, for all generations of the Enedis API, GRDF's and a gateway, and its server.

The server logs no requests.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from simulator.call_gate import gateway_route
from simulator.conso_api import conso_api_routes
from simulator.control_routes import admin_routes
from simulator.electricity_homes import tempo_calendar
from simulator.electricity_recordings import RecordedFolder, read_folder
from simulator.enedis_authorization import consent_routes, service_routes, token_routes
from simulator.enedis_endpoints import contract_routes, data_routes
from simulator.enedis_refusals import ERROR_TABLE, Generation, Refused
from simulator.grdf_authorization import gas_consent_routes, gas_token_routes
from simulator.grdf_endpoints import API, BASES, authorize_call, gas_contract_routes, gas_data_routes
from simulator.grdf_refusals import authentication_error
from simulator.grdf_rights import right_routes
from simulator.rte import rte_routes
from simulator.running_state import SimulatorState
from simulator.switches import SimulatorOptions
from worker.domain.prices.tempo import write_colours
from worker.domain.windows import ONE_DAY
from worker.stores.sockets import address_of, listen

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8765
_SHUTDOWN_S: Final = 1  # A call that an injected fault delays must not delay the end of the server.


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


def create_app(options: SimulatorOptions, on_recordings: Callable[[RecordedFolder], None] | None = None) -> Starlette:
    """Return the simulator's application; ``on_recordings`` receives what ``data_dir`` holds.

    Raises BrokenRecording where ``data_dir`` can't be served.
    """
    recordings = read_folder(options.data_dir) if options.data_dir else RecordedFolder()
    if on_recordings is not None:
        on_recordings(recordings)
    simulator = SimulatorState(options, recordings)

    async def tempo_days(request: Request) -> Response:
        tomorrow = simulator.clock.local_now().date() + ONE_DAY
        return PlainTextResponse(write_colours(tempo_calendar(tomorrow)))

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
            *rte_routes(simulator),
            Route("/tempo_days.csv", tempo_days),
            gateway_route(simulator, methods, "/{path:path}", _reject, Generation.V5),
        ]
    )


async def _reject(request: Request) -> Response:
    """Answer every unknown path as the supplier's web firewall does."""
    raise Refused(ERROR_TABLE["firewall"])


def serve(
    options: SimulatorOptions,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    on_start: Callable[[str], None] | None = None,
    on_recordings: Callable[[RecordedFolder], None] | None = None,
) -> None:
    """Serve until interrupted; ``on_start`` receives the address, which port 0 leaves open.

    ``on_recordings`` receives what ``data_dir`` holds, before that.
    Raises BrokenRecording before anything is served, and OSError if the port is taken.
    """
    server = build_server(create_app(options, on_recordings))
    with listen(host, port) as listener:
        if on_start is not None:
            on_start(address_of(listener))
        with suppress(KeyboardInterrupt):  # Ctrl-C is the usual end.
            server.run(sockets=[listener])


def _is_unexpected_error(record: logging.LogRecord) -> bool:
    """Return whether to log the record: answers cut and calls delayed by injected faults are intended."""
    text = record.getMessage()
    return "returned without completing response" not in text and "graceful shutdown exceeded" not in text


def build_server(app: ASGIApp) -> uvicorn.Server:
    """Return a server without access log that does not change the logging of this process."""
    logging.getLogger("uvicorn.error").addFilter(_is_unexpected_error)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,
            log_level="error",
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
    )
