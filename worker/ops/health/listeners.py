"""Checks that the HTTP listeners of this machine answer: web, Flower and the metrics endpoint.

Only the standard library is imported, because a container platform asks every few seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from typing import Final
from urllib.parse import urlsplit

from worker.ops.health.connections import CheckConnections
from worker.ops.health.results import CheckNote, fail, ok

_TIMEOUT_S: Final = 5.0
ADDRESSES: Final = {
    "web": "http://127.0.0.1:8000/static/page.css",
    "flower": "http://127.0.0.1:5555/healthcheck",
    "metrics": "http://127.0.0.1:9808/metrics",
}


def check_web(connections: CheckConnections) -> Iterator[CheckNote]:
    yield _check_http_answer(connections.address or ADDRESSES["web"])


def check_flower(connections: CheckConnections) -> Iterator[CheckNote]:
    """Check Flower by its health page, which is open even where Flower has a password."""
    yield _check_http_answer(connections.address or ADDRESSES["flower"])


def check_metrics(connections: CheckConnections) -> Iterator[CheckNote]:
    yield _check_http_answer(connections.address or ADDRESSES["metrics"])


def _check_http_answer(address: str) -> CheckNote:
    parts = urlsplit(address)
    connection = HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", parts._replace(scheme="", netloc="", fragment="").geturl() or "/")
        status = connection.getresponse().status
    except (OSError, HTTPException) as error:
        return fail(f"{address} does not answer ({type(error).__name__}): look at its log")
    finally:
        connection.close()
    return ok(f"answers {status}") if status < 500 else fail(f"{address} answers {status}: look at its log")
