"""HTTP server of the simulator, which logs no requests."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from worker.simulator.app import create_app
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
) -> None:
    """Serve until interrupted; ``on_start`` receives the address, which port 0 leaves open.

    Raises BrokenRecording before anything is served, and OSError where the port is taken.
    """
    server = _server(create_app(options))
    with listen(host, port) as listener:
        if on_start is not None:
            on_start(address_of(listener))
        with suppress(KeyboardInterrupt):  # Ctrl-C is the usual end.
            server.run(sockets=[listener])


@contextmanager
def serve_in_background(options: SimulatorOptions, host: str = DEFAULT_HOST, port: int = 0) -> Iterator[str]:
    """Run a simulator in a thread of this process; yields its address and ends with the block."""
    with run_in_background(create_app(options), host, port) as address:
        yield address


@contextmanager
def run_in_background(app: ASGIApp, host: str = DEFAULT_HOST, port: int = 0) -> Iterator[str]:
    """Run any ASGI application the same way, such as one that replaces one simulator by another."""
    server = _server(app)
    with listen(host, port) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield address_of(listener)
        finally:
            server.should_exit = True
            thread.join()


def _is_unexpected_error(record: logging.LogRecord) -> bool:
    """Return whether to log the record: answers cut and calls delayed by injected faults are intended."""
    text = record.getMessage()
    return "returned without completing response" not in text and "graceful shutdown exceeded" not in text


def _server(app: ASGIApp) -> uvicorn.Server:
    logging.getLogger("uvicorn.error").addFilter(_is_unexpected_error)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,  # Uvicorn must not change the logging of this process.
            log_level="error",
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN_S,
        )
    )
