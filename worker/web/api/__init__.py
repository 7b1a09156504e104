"""The JSON API: accounts, status, progress and measures, for clients with a token and households with a session."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi

from worker.web.api import accounts, measures, progress
from worker.web.api.errors import PREFIX, ApiRoute, add_error_handler

__all__ = ["add_api", "router"]

_DESCRIPTION = """Measures of Linky meters, as kept by this Relève.

A client sends `Authorization: Bearer TOKEN`, made with `releve tokens new`; tokens are never read from an address.
A household's browser session sees its own accounts alone. Everything else is refused.

Refusals and failures all have the shape `{"error": code, "message": text}`. Calls are limited by token, session and
address: 429 says in `Retry-After` when to come back. Lists come in pages; follow `next` until it is null.
"""

_BY_TOKEN: Final[dict[str, list[str]]] = {"token": []}
_SECURITY: Final[dict[str, list[dict[str, list[str]]]]] = {  # FastAPI can describe "or", not "and".
    "get": [_BY_TOKEN, {"session": []}],
    "post": [_BY_TOKEN],
    "delete": [_BY_TOKEN, {"session": [], "csrf": []}],
}

router = APIRouter(prefix=PREFIX, route_class=ApiRoute)
for _module in (accounts, measures, progress):
    router.include_router(_module.router)


def add_api(app: FastAPI) -> None:
    """Add the API to the application: routes, error handler and an OpenAPI description of these routes alone."""
    app.include_router(router)
    add_error_handler(app)

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            api_only = FastAPI()
            api_only.include_router(router)
            schema = get_openapi(
                title="Relève", version=version("releve"), description=_DESCRIPTION, routes=api_only.routes
            )
            for operations in schema["paths"].values():
                for method, operation in operations.items():
                    operation["security"] = _SECURITY[method]
            app.openapi_schema = schema
        return app.openapi_schema

    app.openapi = describe  # type: ignore[method-assign]
