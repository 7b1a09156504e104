"""Runs the web application over HTTP, quietly: no line for a request, whose address may name an account."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import uvicorn
from fastapi import FastAPI

from worker.stores.redis.sockets import address_of, listen

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8000
_GOODBYE_S: Final = 2  # who watches a progress bar would hold the end back for a quarter of an hour


def serve(app: FastAPI, host: str, port: int, started: Callable[[str], None]) -> None:
    """Serve until interrupted; ``started`` gets the address, of use with port 0.

    Raises OSError where the port is taken.  Behind a reverse proxy uvicorn reads X-Forwarded-For and -Proto from the
    addresses in FORWARDED_ALLOW_IPS, loopback by default.
    """
    logging.getLogger("uvicorn.error").addFilter(_worth_telling)
    config = uvicorn.Config(
        app,
        access_log=False,
        log_config=None,  # the process's own logging stays as it is
        lifespan="off",
        ws="none",
        server_header=False,
        timeout_graceful_shutdown=_GOODBYE_S,
    )
    with listen(host, port) as listener:
        started(address_of(listener))
        with suppress(KeyboardInterrupt):  # Ctrl-C is how it ends
            uvicorn.Server(config).run(sockets=[listener])


def _worth_telling(record: logging.LogRecord) -> bool:
    return "graceful shutdown exceeded" not in record.getMessage()
