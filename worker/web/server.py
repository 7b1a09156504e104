"""The HTTP server (uvicorn) of the web application, without an access log: a request's address may name an account."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from worker.stores.sockets import address_of, listen
from worker.web.connection_limits import ConnectionLimits, ConnectionRegister, fit_descriptors
from worker.web.http_protocol import BoundedProtocol
from worker.web.repeated_lines import limit_repeated_lines

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8000
_SHUTDOWN_GRACE_S: Final = 2  # For requests that still run; progress streams end by themselves.
_SWEEP_EVERY_S: Final = 1.0


def serve(app: ASGIApp, host: str, port: int, on_start: Callable[[str], None], proxies: str | None) -> None:
    """Serve until interrupted. ``on_start`` is called with the address, which port 0 leaves open.

    ``proxies``: the addresses whose X-Forwarded-For and X-Forwarded-Proto are believed; None for nobody's. Raises
    OSError where the port is taken.
    """
    with listen(host, port) as listener:
        server = WebServer(app, fit_descriptors(ConnectionLimits()), proxies)
        on_start(address_of(listener))
        with suppress(KeyboardInterrupt):  # Ctrl-C is the usual end.
            server.run(listener)


class WebServer:
    """A uvicorn whose connections have limits. ``sweep_every_s`` is for tests alone."""

    def __init__(
        self,
        app: ASGIApp,
        limits: ConnectionLimits,
        proxies: str | None = None,
        sweep_every_s: float = _SWEEP_EVERY_S,
    ) -> None:
        self._sweep_every_s = sweep_every_s
        config = uvicorn.Config(
            app,
            access_log=False,
            log_config=None,  # The process has configured its logging already.
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=proxies is not None,
            forwarded_allow_ips=proxies,
            backlog=limits.waiting,  # Also how many the event loop accepts at once.
            timeout_graceful_shutdown=_SHUTDOWN_GRACE_S,
        )
        trusted = ProxyHeadersMiddleware(config.app, proxies or []).trusted_hosts  # type: ignore[arg-type]
        self.connections = ConnectionRegister(limits, lambda peer: peer in trusted)
        config.http = type("WebProtocol", (BoundedProtocol,), {"register": self.connections})
        self._server = uvicorn.Server(config)
        self.loop: asyncio.AbstractEventLoop | None = None

    def run(self, listener: socket.socket) -> None:
        """Serve until interrupted, or until ``stop``."""
        with limit_repeated_lines():
            asyncio.run(self._serve(listener))

    def stop(self) -> None:
        self._server.should_exit = True

    async def _serve(self, listener: socket.socket) -> None:
        self.loop = asyncio.get_running_loop()
        sweeps = asyncio.create_task(self._sweep())
        try:
            await self._server.serve(sockets=[listener])
        finally:
            sweeps.cancel()

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._sweep_every_s)
            self.connections.sweep(time.monotonic())
