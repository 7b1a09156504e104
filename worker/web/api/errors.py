"""Errors of the API as answers of one shape: ``{"error": code, "message": text}``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exception_handlers import http_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from worker.domain.fleet.backoff import CLIENT_DELAY_S
from worker.errors import TransientError, UnknownAccount, WorkerError
from worker.logs import fields

log = logging.getLogger("releve.api")

PREFIX: Final = "/api"
_MOST_BYTES: Final = 10_000  # Of a body, because it is read before the caller is authenticated.
_CODES: Final = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed"}


class ApiError(Exception):
    """An error that ends a request with its answer."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def to_response(self) -> Response:
        return error_response(self.status, self.code, self.message, self.headers)


def error_response(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": code, "message": message}, status, dict(headers) if headers else None)


def no_such_account() -> ApiError:
    """Return the error for an account that doesn't exist and for one of another household, in the same words."""
    return ApiError(404, "unknown_account", "no such account, or none that you may see")


class ApiRoute(APIRoute):
    """A route that turns its errors into answers of this shape, in any application."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_errors(request: Request) -> Response:
            try:
                _check_size(request)
                return await handle(request)
            except ApiError as error:
                return error.to_response()
            except RequestValidationError as error:
                return error_response(422, "invalid_request", "; ".join(map(_describe_fault, error.errors())))
            except WorkerError as error:
                return _to_response(error)
            except HTTPException as error:
                return _http_error_response(error)

        return handle_errors


def add_error_handler(app: FastAPI) -> None:
    """Answer errors below /api that no route sees: an unknown path, a wrong method. Pages keep their own handler."""
    page_handler = app.exception_handlers.get(HTTPException, http_exception_handler)

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and request.url.path.startswith(f"{PREFIX}/"):
            return _http_error_response(error)
        response: Response = await page_handler(request, error)  # type: ignore[misc]
        return response

    app.add_exception_handler(HTTPException, handle)


def _check_size(request: Request) -> None:
    """Check the length of the body. Raises ApiError 411 or 413.

    The server reads no more than Content-Length says, so the header can be trusted.
    """
    if "Transfer-Encoding" in request.headers:
        raise ApiError(411, "length_required", "send the body in one piece, with its Content-Length")
    if int(request.headers.get("Content-Length", 0)) > _MOST_BYTES:
        raise ApiError(413, "too_large", f"a body may have {_MOST_BYTES} bytes")


def _to_response(error: WorkerError) -> Response:
    if isinstance(error, UnknownAccount):
        return no_such_account().to_response()
    if isinstance(error, TransientError):
        log.warning("api unavailable", extra=fields(reason=str(error)))
        wait_s = max(1, round(error.retry_after_s or CLIENT_DELAY_S))
        # The error's own text may hold a server's address, so it isn't sent.
        message = "a part of the service does not answer: try again"
        return error_response(503, "unavailable", message, {"Retry-After": str(wait_s)})
    log.error("api failed", extra=fields(code=error.code, reason=str(error)))
    return error_response(500, "failed", "the service can't do this: its operator finds the reason in the log")


def _http_error_response(error: HTTPException) -> Response:
    code = _CODES.get(error.status_code, "refused")
    return error_response(error.status_code, code, str(error.detail), error.headers)


def _describe_fault(fault: Mapping[str, Any]) -> str:
    """Return field and problem, never the value: it may be a meter's number."""
    field = ".".join(str(part) for part in fault["loc"] if part != "__root__")
    return f"{field}: {str(fault['msg']).removeprefix('Value error, ')}"
