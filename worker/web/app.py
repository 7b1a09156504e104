"""The FastAPI application: its routes, static files, headers and error handlers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from worker.runtime.process import Runtime
from worker.web import api, pages
from worker.web.consent import proxy, routes
from worker.web.context import ServiceContext
from worker.web.errors import add_error_handlers
from worker.web.pages import operator
from worker.web.security import add_security_headers
from worker.web.sessions import SessionSigner

_FOLDER: Final = Path(__file__).parent


def create_app(runtime: Runtime, session_key: str) -> FastAPI:
    """Build the application. Raises ValueError where the session key is too short."""
    app = FastAPI(title="Relève", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.state.context = ServiceContext(runtime, SessionSigner(session_key))
    app.middleware("http")(add_security_headers)
    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
    add_error_handlers(app)
    for module in (routes, proxy, pages, operator):
        app.include_router(module.router)
    # The API comes last: its handler passes errors outside /api on to the handlers of the pages.
    api.add_api(app)
    return app
