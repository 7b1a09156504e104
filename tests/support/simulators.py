"""A simulator, or any other ASGI application, in a thread of this process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from starlette.types import ASGIApp

from simulator.application import build_server, create_app
from simulator.switches import SimulatorOptions
from worker.stores.sockets import address_of, listen


def serve_in_background(options: SimulatorOptions) -> AbstractContextManager[str]:
    return run_in_background(create_app(options))


@contextmanager
def run_in_background(app: ASGIApp, port: int = 0) -> Iterator[str]:
    """Yield the application's address and end it with the block."""
    server = build_server(app)
    with listen("127.0.0.1", port) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield address_of(listener)
        finally:
            server.should_exit = True
            thread.join()
