"""The FastAPI application: its routes, static files, headers and error handlers."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Final

from fastapi import APIRouter, FastAPI
from fastapi.staticfiles import StaticFiles

from worker.ops.machine import in_container
from worker.runtime.sync_parts import Runtime
from worker.web import api, pages
from worker.web.access import sessions, sign_in, way_back
from worker.web.consent import invitation, proxy, reading, routes
from worker.web.consent.rights import routes as rights
from worker.web.errors import add_error_handlers
from worker.web.home import pages as home_pages
from worker.web.home.local_session import LocalSession, names_proxy
from worker.web.pages import operator
from worker.web.request_guard import RequestGuard

_FOLDER: Final = Path(__file__).parent
# ``/connect/reading`` comes before ``/connect/{supplier}``.
_OF_FLEET: Final[tuple[ModuleType, ...]] = (
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
)


def create_app(runtime: Runtime) -> FastAPI:
    app = api.create_described_app()
    app.state.runtime = runtime
    app.add_middleware(RequestGuard)
    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
    add_error_handlers(app)
    modules = _OF_FLEET
    if runtime.settings.is_home:
        modules = _of_home(runtime)
        is_open = not (in_container() or names_proxy(runtime.settings.public_url))
        app.state.local_session = LocalSession(runtime.web_access, is_open=is_open)
    app.router.routes.extend(_build_router(modules).routes)
    return app


@cache
def _build_router(modules: tuple[ModuleType, ...]) -> APIRouter:
    """Return the router of these modules. It is kept, because FastAPI needs most of a second to build its routes."""
    router = APIRouter()
    for module in modules:
        router.include_router(module.router)
    return router


def _of_home(runtime: Runtime) -> tuple[ModuleType, ...]:
    """Return what a home has: neither a supplier's consent page, nor invitations, the proxy and operators."""
    return (*([rights] if runtime.has_rights else []), home_pages, pages, sign_in, sessions, api)
