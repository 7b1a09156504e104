"""HTTP server of the simulator, which logs no requests."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from worker.simulator.app import create_app
from worker.simulator.homes.recordings import RecordedFolder
from worker.simulator.options import SimulatorOptions
from worker.stores.redis.sockets import address_of, listen

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8765
_SHUTDOWN_S: Final = 1  # A call that an injected fault delays must not delay the end of the server.


def serve(
    options: SimulatorOptions,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    on_start: Callable[[str], None] | None = None,
    on_recordings: Callable[[RecordedFolder], None] | None = None,
) -> None:
    """Serve until interrupted; ``on_start`` receives the address, which port 0 leaves open.

    ``on_recordings`` receives what ``data_dir`` holds, before that.
    Raises BrokenRecording before anything is served, and OSError where the port is taken.
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
    """Return a server without access log that leaves the logging of this process alone."""
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
