"""What every request goes through: the check of its body's length, its audit entry, the headers of its answer.

It is plain ASGI. The middleware of FastAPI's decorator would end the body of an answer that its route has aborted, and
a part of a file would look like the whole.
"""

from __future__ import annotations

from fastapi import Request
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from worker.web.audit import record_request
from worker.web.errors import refuse_body, to_response
from worker.web.home.foreign_requests import OWN_PAGES, refuse_foreign
from worker.web.security import set_security_headers


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
