"""The FastAPI application: its routes, static files, headers and error handlers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles

from worker.runtime.process import Runtime
from worker.web import api, pages
from worker.web.access import sessions, sign_in, way_back
from worker.web.audit import record_request
from worker.web.consent import invitation, proxy, reading, routes
from worker.web.consent.rights import routes as rights
from worker.web.errors import add_error_handlers, refuse_body, to_response
from worker.web.pages import operator
from worker.web.security import set_security_headers

_FOLDER: Final = Path(__file__).parent


def create_app(runtime: Runtime) -> FastAPI:
    app = api.create_described_app()
    app.state.runtime = runtime
    app.middleware("http")(_guard)
    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
    add_error_handlers(app)
    # ``/connect/reading`` comes before ``/connect/{supplier}``.
    for module in (
        reading,
        routes,
        invitation,
        rights,
        proxy,
        pages,
        sign_in,
        way_back,
        sessions,
        operator,
        api,
    ):
        app.include_router(module.router)
    return app


async def _guard(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse a body that is too long or no form before it is read, record what changes something,
    and add the headers to every answer.
    """
    refusal = refuse_body(request)
    try:
        response = to_response(request, refusal) if refusal else await call_next(request)
    except Exception:  # A bug of ours, which is answered outside of all middleware.
        await record_request(request, 500)
        raise
    await record_request(request, response.status_code)
    set_security_headers(request, response)
    return response
