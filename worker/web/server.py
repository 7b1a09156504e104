"""The HTTP server (uvicorn) of the web application, without an access log: a request's address may name an account."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn
from fastapi import FastAPI

from worker.stores.redis.sockets import address_of, listen

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8000
_SHUTDOWN_GRACE_S: Final = 2  # For requests that still run; progress streams end by themselves.


def serve(app: FastAPI, host: str, port: int, on_start: Callable[[str], None], proxies: str | None) -> None:
    """Serve until interrupted. ``on_start`` is called with the address, which port 0 leaves open.

    ``proxies``: the addresses whose X-Forwarded-For and X-Forwarded-Proto are believed; None for nobody's. Raises
    OSError where the port is taken.
    """
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,  # The process has configured its logging already.
        lifespan="off",
        ws="none",
        server_header=False,
        proxy_headers=proxies is not None,
        forwarded_allow_ips=proxies,
        timeout_graceful_shutdown=_SHUTDOWN_GRACE_S,
    )
    with listen(host, port) as listener:
        on_start(address_of(listener))
        with suppress(KeyboardInterrupt):  # Ctrl-C is the usual end.
            uvicorn.Server(config).run(sockets=[listener])
