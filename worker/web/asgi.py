"""The web application (FastAPI): the routes of a fleet or a home, static files, and the middleware for every request.

``RequestGuard`` is plain ASGI, because FastAPI's middleware decorator would end the body of an aborted answer as if it
were complete, so that a part of a file would look like the whole file.
"""

from __future__ import annotations

import logging
from functools import cache
from pathlib import Path
from typing import Final

from fastapi import APIRouter, FastAPI, Request
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.errors import StoreUnavailable
from worker.logs import fields
from worker.ops.machine import in_container
from worker.runtime.consent_parts import Consent
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync
from worker.runtime.web_access import WebAccess
from worker.web import api
from worker.web.dependencies import LocalSession, names_proxy, settings_of
from worker.web.error_pages import HttpRefusal, add_error_handlers, answers_head, to_response
from worker.web.file_uploads import UPLOADS
from worker.web.pages import (
    account,
    account_connection,
    account_forms,
    alerts,
    api_docs,
    cards,
    consent,
    consent_callback,
    everything,
    files,
    first_page,
    oauth_proxy,
    operator_access,
    operator_account,
    operator_accounts,
    operator_audit,
    operator_campaigns,
    operator_invitations,
    operator_overview,
    operator_own,
    own_home,
    prices,
    recovery,
    rights,
    sign_in,
    spans,
    usage,
)
from worker.web.rendering import set_security_headers
from worker.web.request_audit import record_request

log = logging.getLogger("releve.web")
_FOLDER: Final = Path(__file__).parent
# Modules of routes, tried in this order.
_OF_BOTH: Final = (
    account,
    account_connection,
    account_forms,
    alerts,
    api_docs,
    cards,
    everything,
    files,
    prices,
    sign_in,
    spans,
    usage,
)
_OF_FLEET: Final = (
    consent,
    consent_callback,
    rights,
    oauth_proxy,
    first_page,
    *_OF_BOTH,
    recovery,
    operator_overview,
    operator_accounts,
    operator_account,
    operator_audit,
    operator_access,
    operator_invitations,
    operator_campaigns,
    operator_own,
)
# A home has no supplier's consent page, invitations, proxy or operators, and a first page of its own.
_OF_HOME: Final = (own_home, *_OF_BOTH)
_OF_HOME_WITH_RIGHTS: Final = (rights, *_OF_HOME)
_SLASH_REDIRECT: Final = 307  # The router's answer to a path with an extra slash; our own redirects are 303.
# The most bytes in the body of an API call and of a form; limited because both are read before the caller is
# authenticated.
_LONGEST_CALL: Final = 10_000
LONGEST_FORM: Final = 16 * 1024


class RequestGuard:
    """Middleware for every request.

    It refuses a body that is too long or of the wrong kind without reading the body, records requests that change
    something, and adds the security headers to every answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["method"] == "HEAD" and answers_head(scope["path"]):
            scope = {**scope, "method": "GET"}  # The server sends no body for HEAD.
        request, is_answered = Request(scope, receive), False
        settings = settings_of(request)

        async def send_guarded(message: Message) -> None:
            nonlocal is_answered
            if message["type"] == "http.response.start":
                is_answered = True
                await record_request(request, message["status"])
                headers = MutableHeaders(scope=message)
                if message["status"] == _SLASH_REDIRECT and "Location" in headers:
                    # The router builds the redirect with the host that the request names. A request may name any host,
                    # so the host is cut off.
                    headers["Location"] = "/" + headers["Location"].removeprefix(str(request.base_url)).lstrip("/\\")
                if settings.is_home:
                    headers.setdefault("Referrer-Policy", own_home.OWN_PAGES)
                set_security_headers(request, headers, message["status"])
                headers.update(getattr(request.state, "rate_limit", {}))
            await send(message)
            if message["type"] == "http.response.body":
                await _record_visits(request)

        refusal = own_home.refuse_foreign(request, settings.public_url) if settings.is_home else None
        refusal = refusal or _refuse_body(request)
        app = to_response(request, refusal) if refusal else self.app
        try:
            await app(scope, receive, send_guarded)
        except Exception:  # A bug of ours; the answer to it bypasses all middleware.
            if not is_answered:
                await record_request(request, 500)
            raise


async def _record_visits(request: Request) -> None:
    """Record the visits that ``note_visit`` has collected.

    This is called after each part of the answer has been sent, so that a store that is down doesn't affect the answer.
    """
    visits, request.state.visits = getattr(request.state, "visits", {}), {}
    for record in visits.values():
        try:
            await run_in_threadpool(record)
        except StoreUnavailable as error:
            log.warning("visit not recorded", extra=fields(reason=str(error)))


def _refuse_body(request: Request) -> HttpRefusal | None:
    """Return the refusal of a body that must not be read; None if the body may be read.

    The server reads no more than Content-Length says, so the header can be trusted.
    """
    if "Transfer-Encoding" in request.headers:
        return HttpRefusal(411, "length_required", "send the body in one piece, with its Content-Length")
    path = request.url.path
    upload = next((most for route, most in UPLOADS.items() if route.fullmatch(path)), None)
    is_call = path.startswith("/api/")
    most = upload or (_LONGEST_CALL if is_call else LONGEST_FORM)
    if int(request.headers.get("Content-Length", 0)) > most:
        return HttpRefusal(413, "too_large", f"a body may have at most {most} bytes")
    is_multipart = request.headers.get("Content-Type", "").lstrip().lower().startswith("multipart/")
    if is_multipart and upload is None and not is_call:
        return HttpRefusal(415, "unsupported_media_type", "send the form as application/x-www-form-urlencoded")
    return None


def create_app(stores: Stores, sync: Sync, consent: Consent, access: WebAccess) -> FastAPI:
    app, settings = api.create_described_app(), stores.settings
    app.state.stores, app.state.sync, app.state.consent, app.state.access = stores, sync, consent, access
    app.add_middleware(RequestGuard)
    app.mount("/static", StaticFiles(directory=_FOLDER / "static"), name="static")
    add_error_handlers(app)
    if settings.is_home:
        is_open = not (in_container() or names_proxy(settings.public_url))
        app.state.local_session = LocalSession(access, is_open=is_open)
    app.router.routes.extend(
        _build_router(is_home=settings.is_home, has_rights=settings.is_home and sync.suppliers.has_rights).routes
    )
    return app


@cache
def _build_router(*, is_home: bool, has_rights: bool) -> APIRouter:
    """Build the router of a fleet or a home; cached, because FastAPI needs most of a second to build a router."""
    router = APIRouter()
    for pages in (_OF_HOME_WITH_RIGHTS if has_rights else _OF_HOME) if is_home else _OF_FLEET:
        router.include_router(pages.router, include_in_schema=False)
    router.include_router(api.router)
    return router
