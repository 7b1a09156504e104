"""The API: accounts, status, progress and measures, for clients with a token and households with a session."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from worker.web.api import accounts, measures, progress
from worker.web.api.errors import PREFIX, ApiRoute, answer_in_our_shape

__all__ = ["router", "set_up"]

_ABOUT = """Electricity consumption of Linky meters, as kept by this Relève.

A client sends `Authorization: Bearer TOKEN`, made with `releve tokens new`; tokens are never read from an address.
A household's browser session sees its own accounts alone. Everything else is refused.

Refusals and failures all have the shape `{"error": code, "message": text}`. Calls are limited by token, session and
address: 429 says in `Retry-After` when to come back. Lists come in pages; follow `next` until it is null.
"""

_CLIENT: Final[dict[str, list[str]]] = {"token": []}
_WHO: Final[dict[str, list[dict[str, list[str]]]]] = {  # FastAPI can say "or", not "and"
    "get": [_CLIENT, {"session": []}],
    "post": [_CLIENT],
    "delete": [_CLIENT, {"session": [], "csrf": []}],
}

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)
for _part in (accounts, measures, progress):
    router.include_router(_part.router)


def set_up(app: FastAPI) -> None:
    """Put the API into the application: routes, refusals in our shape, and a description of these routes alone."""
    app.include_router(router)
    answer_in_our_shape(app)

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            alone = FastAPI()
            alone.include_router(router)
            described = get_openapi(title="Relève", version=version("releve"), description=_ABOUT, routes=alone.routes)
            for operations in described["paths"].values():
                for method, operation in operations.items():
                    operation["security"] = _WHO[method]
            app.openapi_schema = described
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
