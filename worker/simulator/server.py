"""Runs the simulator over HTTP, quietly: not a line for any request."""

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
_GOODBYE_S: Final = 1  # calls that are held back on purpose must not hold the end back


def serve(
    options: SimulatorOptions,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    started: Callable[[str], None] | None = None,
) -> None:
    """Serve until interrupted; ``started`` gets the address, of use with port 0.

    Raises BrokenRecording before anything is served, and OSError where the port is taken.
    """
    server = _server(create_app(options))
    with listen(host, port) as listener:
        if started is not None:
            started(address_of(listener))
        with suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
            server.run(sockets=[listener])


@contextmanager
def serve_in_background(options: SimulatorOptions, host: str = DEFAULT_HOST, port: int = 0) -> Iterator[str]:
    """A simulator in a thread of this process; gives its address and ends with the block."""
    with run_in_background(create_app(options), host, port) as address:
        yield address


@contextmanager
def run_in_background(app: ASGIApp, host: str = DEFAULT_HOST, port: int = 0) -> Iterator[str]:
    """The same for any application, such as one that puts one simulator in place of another."""
    server = _server(app)
    with listen(host, port) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield address_of(listener)
        finally:
            server.should_exit = True
            thread.join()


def _not_on_order(record: logging.LogRecord) -> bool:
    """Answers that we cut, and calls that we hold back, are no faults of ours to report."""
    text = record.getMessage()
    return "returned without completing response" not in text and "graceful shutdown exceeded" not in text


def _server(app: ASGIApp) -> uvicorn.Server:
    logging.getLogger("uvicorn.error").addFilter(_not_on_order)
    return uvicorn.Server(
        uvicorn.Config(
            app,
            access_log=False,
            log_config=None,  # the process's own logging stays as it is
            log_level="error",
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=_GOODBYE_S,
        )
    )
