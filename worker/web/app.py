"""The FastAPI application: its routes, static files, headers and error handlers."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from worker.runtime.process import Runtime
from worker.web import api, pages
from worker.web.access import sessions, sign_in, way_back
from worker.web.consent import invitation, proxy, reading, routes
from worker.web.consent.rights import routes as rights
from worker.web.errors import add_error_handlers
from worker.web.pages import operator
from worker.web.request_guard import RequestGuard

_FOLDER: Final = Path(__file__).parent


def create_app(runtime: Runtime) -> FastAPI:
    app = api.create_described_app()
    app.state.runtime = runtime
    app.add_middleware(RequestGuard)
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
