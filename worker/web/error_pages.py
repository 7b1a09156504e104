"""Errors as answers: a page in the reader's language, or JSON for programs; never a traceback.

The API answers with problems as of RFC 9457, which also have the fields ``error`` and ``message`` of version 0.2.0. The
OAuth proxy uses the field names of RFC 6749, 5.2.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match, Mount

from worker.domain.retry import CLIENT_DELAY_S
from worker.errors import IncidentOpen, MeterElsewhere, RateLimited, TransientError, UnknownAccount, WorkerError
from worker.logs import fields
from worker.stores.registry.campaigns import UnknownCampaign
from worker.texts import translate
from worker.web.dependencies import EarlyAnswer, FormRefused, settings_of
from worker.web.rendering import SIGN_IN, refuse_form, render_message, set_security_headers
from worker.web.request_audit import note_refusal

log = logging.getLogger("releve.web")
# Codes with a page of their own; the other codes use the page of "refused".
_PAGES: Final = (
    "unknown_account",
    "not_found",
    "method_not_allowed",
    "invalid_request",
    "rate_limited",
    "unavailable",
    "failed",
    "foreign_host",
    "foreign_origin",
)
PROBLEM: Final = "application/problem+json"
API_DOCS: Final = "/api/docs"  # The page has an anchor for each code of the API.
PROBLEM_KEY: Final = "problem."  # Begins the key of the text of a code.
_HTTP_CODES: Final = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed"}


class HttpRefusal(Exception):
    """An error that ends a request and describes the answer: ``code`` is for programs, the message a line for people.

    ``wait_s``: seconds until the caller may try again; 0 if there is no need to wait.
    """

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None, *, wait_s: float = 0
    ) -> None:
        super().__init__(message)
        wait = {"Retry-After": str(max(1, round(wait_s)))} if wait_s else {}
        self.status, self.code, self.headers = status, code, {**(headers or {}), **wait}


class AbortedAnswer(Exception):
    """Breaks off an answer whose first part has been sent: the server closes the connection before the end of the body.

    The code that raises this error has logged the reason. The error isn't a WorkerError, because no other answer can be
    sent.
    """


def meter_elsewhere() -> HttpRefusal:
    """Return the refusal of a meter whose account is, or was until the meter's data were erased, another tenant's.

    The refusal doesn't tell who the tenant is, nor whether the data were erased. Only API clients get this refusal.
    """
    message = "an account of another tenant reads this meter, or has read it: ask the operator"
    return HttpRefusal(409, MeterElsewhere.code, message)


def add_error_handlers(app: FastAPI) -> None:
    for kind in (EarlyAnswer, FormRefused, HttpRefusal, WorkerError, RequestValidationError, HTTPException, Exception):
        app.add_exception_handler(kind, _answer_error)


async def _answer_error(request: Request, error: Exception) -> Response:
    if isinstance(error, EarlyAnswer):
        return error.response
    if isinstance(error, FormRefused):
        return refuse_form(request, error.back)
    response = to_response(request, _to_refusal(request, error))
    if _HTTP_CODES.get(response.status_code) == "method_not_allowed":
        response.headers["Allow"] = _find_methods(request)
    # The answer to a bug of ours bypasses all middleware, which otherwise adds the headers.
    set_security_headers(request, response.headers, response.status_code)
    return response


def answers_head(path: str) -> bool:
    """Return whether HEAD is answered like GET; False for paths where GET changes something or sends a stream."""
    return not path.startswith(("/api/", "/callback/", "/connect/", "/proxy/"))


def _find_methods(request: Request) -> str:
    """Return all methods that the path accepts; the router would name only those of its first matching route."""
    routes = [route for route in request.app.routes if not isinstance(route, Mount)]
    asked = {name: {**request.scope, "method": name} for name in ("GET", "POST", "PUT", "PATCH", "DELETE")}
    found = [name for name in asked if any(route.matches(asked[name])[0] is Match.FULL for route in routes)] or ["GET"]
    return ", ".join(["HEAD", *found] if "GET" in found and answers_head(request.url.path) else found)


def to_response(request: Request, refusal: HttpRefusal) -> Response:
    """Return the answer in the form that callers of this path expect."""
    path, code = request.url.path, refusal.code
    note_refusal(request, code)
    if path.startswith("/api/"):
        body = {
            "type": f"{settings_of(request).public_url}{API_DOCS}#{code}",
            "title": translate(f"{PROBLEM_KEY}{code}", "en"),
            "status": refusal.status,
            "detail": str(refusal),
            "error": code,
            "message": str(refusal),
        }
        return JSONResponse(body, refusal.status, refusal.headers, media_type=PROBLEM)
    if path.startswith("/proxy/"):
        body = {"error": code, "error_description": str(refusal)}
        return JSONResponse(body, refusal.status, {"Pragma": "no-cache", **refusal.headers})
    name = f"failure.{code if code in _PAGES else 'refused'}"
    action = SIGN_IN if code == "unknown_account" else ("/", "message.home")
    page = render_message(request, name, refusal.status, action)
    page.headers.update(refusal.headers)
    return page


def _to_refusal(request: Request, error: Exception) -> HttpRefusal:
    match error:
        case HttpRefusal():
            return error
        case UnknownAccount():
            # An account that doesn't exist and an account of another household are refused with the same text.
            return HttpRefusal(404, "unknown_account", "no such account, or you may not see it")
        case UnknownCampaign():
            return HttpRefusal(404, "not_found", str(error))
        case RateLimited() if not isinstance(error, IncidentOpen):
            message = "the supplier's rate limit is reached: try again later"
            return HttpRefusal(503, "rate_limited", message, wait_s=error.retry_after_s or CLIENT_DELAY_S)
        case TransientError():
            log.warning("request not served", extra=fields(reason=str(error)))
            # The error's own text may contain a server's address, so it isn't sent.
            message = "a part of the service does not answer: try again"
            return HttpRefusal(503, "unavailable", message, wait_s=error.retry_after_s or CLIENT_DELAY_S)
        case RequestValidationError():
            if any(fault["loc"] == ("body",) for fault in error.errors()) and not _may_be_json(request):
                message = "send the body as JSON, with the header Content-Type: application/json"
                return HttpRefusal(415, "unsupported_media_type", message)
            return HttpRefusal(422, "invalid_request", "; ".join(map(_describe_fault, error.errors())))
        case HTTPException():
            code = _HTTP_CODES.get(error.status_code, "refused")
            return HttpRefusal(error.status_code, code, str(error.detail), error.headers)
        case WorkerError():
            log.error("request failed", extra=fields(code=error.code, reason=str(error)))
        case _:
            pass  # A bug of ours: Starlette logs its traceback.
    return HttpRefusal(500, "failed", "the service can't do this: its operator can find the reason in the log")


def _may_be_json(request: Request) -> bool:
    """Return whether the request has no body, or says that its body is JSON."""
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return request.headers.get("Content-Length", "0") == "0" or kind.endswith(("/json", "+json"))


def _describe_fault(fault: Mapping[str, Any]) -> str:
    """Return the field and the problem, but never the value, which may be a meter's number."""
    field = ".".join(str(part) for part in fault["loc"] if part != "__root__")
    return f"{field}: {str(fault['msg']).removeprefix('Value error, ')}"
