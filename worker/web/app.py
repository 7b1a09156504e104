"""The web application: routes put together, errors turned into pages or JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from worker.runtime.process import Runtime
from worker.web import api, pages
from worker.web.consent import proxy, routes
from worker.web.context import ServiceContext
from worker.web.errors import answer_failures
from worker.web.pages import operator
from worker.web.security import add_security_headers
from worker.web.sessions import SessionSigner

_HERE: Final = Path(__file__).parent


def create_app(runtime: Runtime, session_key: str) -> FastAPI:
    """Raises ValueError where the session key is too short."""
    app = FastAPI(title="Relève", docs_url=None, redoc_url=None, openapi_url="/api/openapi.json")
    app.state.house = ServiceContext(runtime, SessionSigner(session_key))
    app.middleware("http")(add_security_headers)
    app.mount("/static", StaticFiles(directory=_HERE / "static"), name="static")
    answer_failures(app)
    for part in (routes, proxy, pages, operator):
        app.include_router(part.router)
    api.set_up(app)  # last, for it asks our failures about what is not below /api
    return app
