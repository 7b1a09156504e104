"""What goes wrong, as a page in the reader's language: what it is and what to do, never a traceback.

The API answers for itself; see ``worker.web.api.errors``.
"""

from __future__ import annotations

import logging
from typing import Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from worker.errors import TransientError, UnknownAccount, WorkerError
from worker.logs import fields
from worker.web.render import render
from worker.web.security import set_security_headers

log = logging.getLogger("releve.web")

_RETRY_S: Final = 5
_NO_PAGES: Final = ("/api/", "/proxy/")  # programs call there
_HOME: Final = ("/", "message.home")


def answer_failures(app: FastAPI) -> None:
    app.add_exception_handler(WorkerError, _worker_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(Exception, _unforeseen)


async def _worker_error(request: Request, error: Exception) -> Response:
    if isinstance(error, UnknownAccount):
        return _say(request, 404, "unknown_account")
    if isinstance(error, TransientError):
        log.warning("page unavailable", extra=fields(reason=str(error)))
        response = _say(request, 503, "unavailable")
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s or _RETRY_S)))
        return response
    log.error("page failed", extra=fields(code=getattr(error, "code", None), reason=str(error)))
    return _say(request, 500, "failed")


async def _invalid(request: Request, error: Exception) -> Response:
    return _say(request, 422, "invalid")


async def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    response = _say(request, status, {404: "not_found", 405: "not_allowed"}.get(status, "refused"))
    if isinstance(error, HTTPException):
        response.headers.update(error.headers or {})
    return response


async def _unforeseen(request: Request, error: Exception) -> Response:
    """A bug of ours.  Starlette also logs it with its traceback, on the server."""
    response = _say(request, 500, "failed")
    set_security_headers(request, response)  # this answer is given outside of all middleware
    return response


def _say(request: Request, status: int, kind: str) -> Response:
    if request.url.path.startswith(_NO_PAGES):
        return JSONResponse({"error": kind}, status)
    return render(
        request, "message.html", status, title=f"failure.{kind}.title", text=f"failure.{kind}.text", action=_HOME
    )
