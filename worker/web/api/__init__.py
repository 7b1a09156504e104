"""The JSON API: accounts, status, progress and measures, for clients with a token and households with a session."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from typing import Any, Final

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from worker import tracing
from worker.web.api import accounts, invitations, measures, progress
from worker.web.api.callers import CallerDep
from worker.web.error_pages import PROBLEM, HttpRefusal

_DESCRIPTION = """Measures of Linky meters, as kept by this Relève.

A client sends `Authorization: Bearer TOKEN`, made with `releve access add-token`; tokens are never read from an
address. A household's browser session sees its own accounts alone. Everything else is refused.

Refusals and failures are problems as of RFC 9457 (`application/problem+json`); `error` is a code for programs.

Calls are limited by token, session and address: `RateLimit` says how many are left, and `Retry-After` of a 429 when to
come back. Lists come in pages; follow `next` until it is null.
"""
_PREFIX: Final = "/api"
_BY_TOKEN: Final[dict[str, list[str]]] = {"token": []}
# FastAPI can describe a choice of schemes, but not that a call needs two together (session and csrf). So these
# descriptions replace FastAPI's own.
_SECURITY: Final[dict[str, list[dict[str, list[str]]]]] = {
    "get": [_BY_TOKEN, {"session": []}],
    "post": [_BY_TOKEN],
    "patch": [_BY_TOKEN],
    "delete": [_BY_TOKEN, {"session": [], "csrf": []}],
}
# Otherwise FastAPI might send paths, queries and the texts of exceptions, as the environment asks it to.
_NO_OTHER_TELEMETRY: Final = dict.fromkeys(("operation_spans", "metrics", "logs", "auto_configure"), False)
_FOR_CLIENTS: Final = ("/api/invitations", "/api/audit")  # A household's session may call none of these.


async def refuse_unknown_query(request: Request, _: CallerDep) -> None:
    """Refuse a query parameter that the route does not describe: ignoring a misspelt filter would return too much.

    An unauthenticated caller is refused first.
    """
    described = _describe_routes()[f"{_PREFIX}{request.scope['route'].path}"][request.method.lower()]
    known = sorted(parameter["name"] for parameter in described.get("parameters", ()) if parameter["in"] == "query")
    if not request.query_params.keys() <= set(known):
        raise HttpRefusal(
            422, "invalid_request", f"unknown query parameter: this route allows {', '.join(known) or 'none'}"
        )


def _operation_id(route: APIRoute) -> str:
    """Return the function's name, from which generated clients make the names of their functions."""
    return route.endpoint.__name__


router = APIRouter(
    prefix=_PREFIX, dependencies=[Depends(refuse_unknown_query)], generate_unique_id_function=_operation_id
)
for _routes in (accounts.router, accounts.audit_router, invitations.router, measures.router, progress.router):
    router.include_router(_routes)


@cache
def _describe_routes() -> dict[str, Any]:
    """Return what OpenAPI says of each path: made once a process, because it takes a tenth of a second."""
    paths: dict[str, Any] = get_openapi(title="", version="", routes=router.routes)["paths"]
    return paths


class _DescribedApp(FastAPI):
    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema:
            return self.openapi_schema
        schema = super().openapi()
        for path, operations in schema["paths"].items():
            for method, operation in operations.items():
                operation["security"] = [_BY_TOKEN] if path.startswith(_FOR_CLIENTS) else _SECURITY[method]
                for status, answer in operation["responses"].items():
                    if status >= "400":
                        answer["content"] = {PROBLEM: answer["content"].pop("application/json")}
        return schema


def create_described_app() -> FastAPI:
    """Return an application, still without routes, whose OpenAPI description names how each call is authenticated."""
    traces = {"tracing": tracing.is_on(), "tracer_provider": tracing.provider("web")}
    telemetry: Any = traces | _NO_OTHER_TELEMETRY
    return _DescribedApp(
        title="Releve API",  # Generators make the name of a package from it.
        version=version("releve"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        telemetry=telemetry,
    )
