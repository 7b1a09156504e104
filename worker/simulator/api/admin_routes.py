"""What all control routes of the simulator have in common: JSON in, JSON out, and a reason where the body is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final

from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from worker.domain.measures.answers import Json
from worker.simulator.state import SimulatorState

Action = Callable[[SimulatorState, Request, Json], object]
_BASE: Final = "/__sim__"


def admin_route(simulator: SimulatorState, path: str, **actions: Action) -> Route:
    """Return a route with one action for each HTTP method; a wrong body is answered with 400 and the reason."""

    async def endpoint(request: Request) -> JSONResponse:
        # Starlette adds HEAD to every GET, and the server leaves its body out.
        action = actions["GET" if request.method == "HEAD" else request.method]
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
