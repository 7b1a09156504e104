"""The FastAPI application: its routes, static files, headers and error handlers.

What every request goes through: the check of its body's length, its audit entry, the headers of its answer.

It is plain ASGI. The middleware of FastAPI's decorator would end the body of an answer that its route has aborted, and
a part of a file would look like the whole.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.staticfiles import StaticFiles
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.ops.machine import in_container
from worker.runtime.sync_parts import Runtime
from worker.web import api, pages
from worker.web.dependencies import LocalSession, names_proxy
from worker.web.error_pages import add_error_handlers, refuse_body, to_response
from worker.web.pages import consent, recovery, rights, sign_in
from worker.web.pages import home as home_pages
from worker.web.pages.home import OWN_PAGES, refuse_foreign
from worker.web.rendering import set_security_headers
from worker.web.request_audit import record_request


class RequestGuard:
    """Middleware that refuses a body that is too long or no form before it is read, records what changes something,
    and adds the headers to every answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request, is_answered = Request(scope, receive), False
        settings = request.app.state.runtime.settings

        async def send_guarded(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                is_answered = True
                await record_request(request, message["status"])
                headers = MutableHeaders(scope=message)
                if settings.is_home:
                    headers.setdefault("Referrer-Policy", OWN_PAGES)
                set_security_headers(request, headers, message["status"])
            await send(message)

        refusal = refuse_foreign(request, settings.public_url) if settings.is_home else None
        refusal = refusal or refuse_body(request)
        app = to_response(request, refusal) if refusal else self.app
        try:
            await app(scope, receive, send_guarded)
        except Exception:  # A bug of ours, which is answered outside of all middleware.
            if not is_answered:
                await record_request(request, 500)
            raise


_FOLDER: Final = Path(__file__).parent
# ``/connect/reading`` comes before ``/connect/{supplier}``.
_OF_FLEET: Final[tuple[APIRouter, ...]] = (
    consent.reading_router,
    consent.routes_router,
    consent.invitation_router,
    rights.router,
    pages.proxy_router,
    pages.pages_router,
    sign_in.sign_in_router,
    recovery.router,
    sign_in.sessions_router,
    pages.operator_router,
    api.router,
)


def create_app(runtime: Runtime) -> FastAPI:
    app = api.create_described_app()
    app.state.runtime = runtime
    app.add_middleware(RequestGuard)
    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
    add_error_handlers(app)
    if runtime.settings.is_home:
        is_open = not (in_container() or names_proxy(runtime.settings.public_url))
        app.state.local_session = LocalSession(runtime.web_access, is_open=is_open)
    app.router.routes.extend(
        _build_router(
            is_home=runtime.settings.is_home, has_rights=runtime.settings.is_home and runtime.has_rights
        ).routes
    )
    return app


@cache
def _build_router(*, is_home: bool, has_rights: bool) -> APIRouter:
    """Return the router of a fleet or a home, kept, because FastAPI needs most of a second to build its routes."""
    router = APIRouter()
    for part in _of_home(has_rights=has_rights) if is_home else _OF_FLEET:
        router.include_router(part)
    return router


def _of_home(*, has_rights: bool) -> tuple[APIRouter, ...]:
    """Return what a home has: neither a supplier's consent page, nor invitations, the proxy and operators."""
    return (
        *([rights.router] if has_rights else []),
        home_pages.pages_router,
        pages.pages_router,
        sign_in.sign_in_router,
        sign_in.sessions_router,
        api.router,
    )
