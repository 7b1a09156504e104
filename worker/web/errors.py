"""Error handlers of the pages: each error becomes a page in the reader's language, never a traceback.

The page says what happened and what to do. The API has handlers of its own, see ``worker.web.api.errors``.
"""

from __future__ import annotations

import logging
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from worker.domain.fleet.backoff import CLIENT_DELAY_S
from worker.errors import TransientError, UnknownAccount, WorkerError
from worker.logs import fields
from worker.web.render import render
from worker.web.security import set_security_headers

log = logging.getLogger("releve.web")

_PROGRAM_PATHS: Final = ("/api/", "/proxy/")  # Programs call these paths and get JSON.
_HOME: Final = ("/", "message.home")


def add_error_handlers(app: FastAPI) -> None:
    app.add_exception_handler(WorkerError, _worker_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unexpected_error)


async def _worker_error(request: Request, error: Exception) -> Response:
    if isinstance(error, UnknownAccount):
        return _error_response(request, 404, "unknown_account")
    if isinstance(error, TransientError):
        log.warning("page unavailable", extra=fields(reason=str(error)))
        response = _error_response(request, 503, "unavailable")
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s or CLIENT_DELAY_S)))
        return response
    log.error("page failed", extra=fields(code=getattr(error, "code", None), reason=str(error)))
    return _error_response(request, 500, "failed")


async def _invalid_request(request: Request, error: Exception) -> Response:
    return _error_response(request, 422, "invalid")


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    response = _error_response(request, status, {404: "not_found", 405: "not_allowed"}.get(status, "refused"))
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    return response


async def _unexpected_error(request: Request, error: Exception) -> Response:
    """Answer for a bug of ours. Starlette logs its traceback on the server."""
    response = _error_response(request, 500, "failed")
    # Starlette sends this answer outside all middleware, so the middleware doesn't add the headers.
    set_security_headers(request, response)
    return response


def _error_response(request: Request, status: int, kind: str) -> Response:
    if request.url.path.startswith(_PROGRAM_PATHS):
        return JSONResponse({"error": kind}, status)
    return render(
        request, "message.html", status, title=f"failure.{kind}.title", text=f"failure.{kind}.text", action=_HOME
    )
