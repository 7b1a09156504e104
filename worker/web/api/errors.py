"""Every refusal of the API in one shape, ``{"error": code, "message": text}``, whatever went wrong."""

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

from worker.errors import TransientError, UnknownAccount, WorkerError
from worker.logs import fields

log = logging.getLogger("releve.api")

PREFIX: Final = "/api"
_RETRY_S: Final = 5
_MOST_BYTES: Final = 10_000  # of a body: it is read before anybody is asked who he is
_CODES: Final = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed"}


class ApiError(Exception):
    """Ends a request with this answer."""

    def __init__(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.headers = status, code, message, headers

    def to_response(self) -> Response:
        return answer(self.status, self.code, self.message, self.headers)


def answer(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Response:
    return JSONResponse({"error": code, "message": message}, status, dict(headers) if headers else None)


def no_such_account() -> ApiError:
    """The same words for an account that isn't there and for one that isn't the caller's."""
    return ApiError(404, "unknown_account", "no such account, or none that you may see")


class ApiRoute(APIRoute):
    """A route that turns what it raises into our answers, whatever application it is part of."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_and_tell(request: Request) -> Response:
            try:
                _check_size(request)
                return await handle(request)
            except ApiError as error:
                return error.to_response()
            except RequestValidationError as error:
                return answer(422, "invalid_request", "; ".join(map(_fault, error.errors())))
            except WorkerError as error:
                return _to_response(error)
            except HTTPException as error:
                return _of_status(error)

        return handle_and_tell


def answer_in_our_shape(app: FastAPI) -> None:
    """Also what no route answers: an unknown path below /api, a method that it hasn't.  Pages keep their own words."""
    others = app.exception_handlers.get(HTTPException, http_exception_handler)

    async def handle(request: Request, error: Exception) -> Response:
        if isinstance(error, HTTPException) and request.url.path.startswith(f"{PREFIX}/"):
            return _of_status(error)
        response: Response = await others(request, error)  # type: ignore[misc]
        return response

    app.add_exception_handler(HTTPException, handle)


def _check_size(request: Request) -> None:
    """The server holds a body to the length it tells."""
    if "Transfer-Encoding" in request.headers:
        raise ApiError(411, "length_required", "send the body in one piece, with its Content-Length")
    if int(request.headers.get("Content-Length", 0)) > _MOST_BYTES:
        raise ApiError(413, "too_large", f"a body may have {_MOST_BYTES} bytes")


def _to_response(error: WorkerError) -> Response:
    if isinstance(error, UnknownAccount):
        return no_such_account().to_response()
    if isinstance(error, TransientError):
        log.warning("api unavailable", extra=fields(reason=str(error)))
        wait_s = max(1, round(error.retry_after_s or _RETRY_S))
        message = "a part of the service does not answer: try again"  # addresses of servers are not for everybody
        return answer(503, "unavailable", message, {"Retry-After": str(wait_s)})
    log.error("api failed", extra=fields(code=error.code, reason=str(error)))
    return answer(500, "failed", "the service can't do this: its operator finds the reason in the log")


def _of_status(error: HTTPException) -> Response:
    code = _CODES.get(error.status_code, "refused")
    return answer(error.status_code, code, str(error.detail), error.headers)


def _fault(fault: Mapping[str, Any]) -> str:
    """Where and what, never the value: it may be a meter's number."""
    where = ".".join(str(part) for part in fault["loc"] if part != "__root__")
    return f"{where}: {str(fault['msg']).removeprefix('Value error, ')}"
