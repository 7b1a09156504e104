"""The token endpoint of the proxy: the exchange of a code, and each renewal (RFC 6749, 4.1.3 and 6)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Annotated, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from worker.accounts.proxy_grants import InvalidGrant, TokenAnswer
from worker.domain.audit_entry import ActorKind
from worker.domain.oauth_proxy import ProxyClient
from worker.domain.retry import CLIENT_DELAY_S
from worker.errors import AccountError, RateLimited, RequestRefused, TransientError, WorkerError
from worker.logs import fields
from worker.runtime.sync_parts import Runtime
from worker.web.audit import leave_out, note_actor
from worker.web.consent.proxy.clients import authenticate_client
from worker.web.consent.proxy.routes import check_supplier
from worker.web.context import RuntimeDep
from worker.web.errors import HttpRefusal

log = logging.getLogger("releve.proxy")
router = APIRouter()
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_basic = HTTPBasic(realm="releve", auto_error=False)


async def read_form(request: Request) -> dict[str, str]:
    """Return the form's fields. A name that comes twice is refused: another reader might take the other value."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise HttpRefusal(400, "invalid_request", f"send {_FORM_TYPE}")
    body = await request.body()
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=50, errors="strict")
    except ValueError:
        raise HttpRefusal(400, "invalid_request", "the form can't be read") from None
    if len(dict(pairs)) < len(pairs):
        raise HttpRefusal(400, "invalid_request", "a parameter is given twice")
    return dict(pairs)


@router.post("/{supplier}/token")
def issue_token(
    request: Request,
    supplier: str,
    runtime: RuntimeDep,
    form: Annotated[dict[str, str], Depends(read_form)],
    basic: Annotated[HTTPBasicCredentials | None, Depends(_basic)],
) -> Response:
    """Answer the exchange of a code, and each renewal of a token."""
    check_supplier(supplier)
    client = authenticate_client(request, runtime, form, basic)
    note_actor(request, ActorKind.CLIENT, client.id, client.tenant)
    try:
        answer = JSONResponse(_answer(runtime, client, form), headers={"Pragma": "no-cache"})
    except WorkerError as error:
        raise to_refusal(error) from error
    if form.get("grant_type") == "refresh_token":
        leave_out(request)  # A client comes each hour, and reads nothing more than before.
    return answer


def _answer(runtime: Runtime, client: ProxyClient, form: Mapping[str, str]) -> TokenAnswer:
    match form.get("grant_type"):
        case "authorization_code":
            code = _required_field(form, "code")
            verifier = form.get("code_verifier") or None
            return runtime.proxy_grants.exchange(client, code, form.get("redirect_uri"), verifier)
        case "refresh_token":
            return runtime.proxy_grants.refresh(client, _required_field(form, "refresh_token"))
        case None | "":
            raise HttpRefusal(400, "invalid_request", "grant_type is missing")
        case _:
            message = "only authorization_code and refresh_token are supported"
            raise HttpRefusal(400, "unsupported_grant_type", message)


def to_refusal(error: WorkerError) -> HttpRefusal:
    """Return an error as OAuth names it. What the supplier said stays in our log."""
    if isinstance(error, InvalidGrant):
        return HttpRefusal(400, "invalid_grant", str(error))
    log.warning("proxy call refused", extra=fields(code=error.code, reason=str(error)))
    if isinstance(error, TransientError):
        wait_s = error.retry_after_s or CLIENT_DELAY_S
        if isinstance(error, RateLimited):
            message = "the supplier's rate limit is reached: try again later"
            return HttpRefusal(429, "temporarily_unavailable", message, wait_s=wait_s)
        return HttpRefusal(503, "temporarily_unavailable", "the supplier does not answer: try again", wait_s=wait_s)
    if isinstance(error, AccountError):
        return HttpRefusal(400, "invalid_grant", "the supplier refuses the code or refresh token: consent again")
    if isinstance(error, RequestRefused):
        return HttpRefusal(400, "invalid_request", "the supplier refuses this request")
    return HttpRefusal(500, "server_error", "the service can't do this: its operator can find the reason in the log")


def _required_field(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise HttpRefusal(400, "invalid_request", f"{name} is missing")
    return form[name]
