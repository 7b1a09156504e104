"""What all control routes of the simulator have in common: who may use them, JSON in and out, a reason for a refusal.

Any page that a browser shows may send requests to this machine. So without a token a request must name a host of this
machine, which a page of another site can't (its own name, though it resolved to 127.0.0.1, stands there), and changes
come as ``application/json``, which a browser sends to another site only where that allows it.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.simulator.state import SimulatorState

Action = Callable[[SimulatorState, Request, Json], object]
_BASE: Final = "/__sim__"
_JSON: Final = "application/json"
HEALTH: Final = "/health"  # It tells nothing, and the process's supervisor calls it.


def admin_route(simulator: SimulatorState, path: str, **actions: Action) -> Route:
    """Return a route with one action for each HTTP method; a wrong body is answered with 400 and the reason."""

    async def endpoint(request: Request) -> JSONResponse:
        # Starlette adds HEAD to every GET, and the server leaves its body out.
        action = actions["GET" if request.method == "HEAD" else request.method]
        if refusal := path != HEALTH and _refuse(simulator.options.admin_token, request):
            return refusal
        try:
            body = await request.body()
            return JSONResponse(to_jsonable_python(action(simulator, request, json.loads(body) if body else {})))
        except ValidationError as error:
            first = error.errors()[0]
            return JSONResponse({"error": f"{'.'.join(map(str, first['loc']))}: {first['msg']}"}, 400)
        except (ValueError, OverflowError) as error:
            # Broken JSON is a ValueError, a date beyond the calendar an OverflowError.
            return JSONResponse({"error": str(error)}, 400)

    return Route(_BASE + path, endpoint, methods=list(actions))


def _refuse(token: str | None, request: Request) -> JSONResponse | None:
    """Return the refusal of a request that may not control the simulator, or None."""
    if token is not None:
        sent = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not secrets.compare_digest(sent.encode(), token.encode()):
            reason = "send Authorization: Bearer TOKEN, with the token of --admin-token or the one printed at the start"
            return JSONResponse({"error": reason}, 401, {"WWW-Authenticate": "Bearer"})
    elif not is_loopback(_host_of(request)):
        return JSONResponse(
            {"error": "without --admin-token, /__sim__/ works from this machine only: use 127.0.0.1"}, 403
        )
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method == "POST" and kind != _JSON:
        return JSONResponse({"error": f"send JSON, with Content-Type: {_JSON}"}, 415)
    return None


def _host_of(request: Request) -> str:
    """Return the host that the request names, without its port."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, as far as its name alone tells."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
