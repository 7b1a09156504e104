"""Routes of the household's consent: to the supplier's page and back."""

from __future__ import annotations

import secrets
from typing import Final

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from worker.clients.enedis.client import USAGE_POINT
from worker.clients.suppliers import ENEDIS, SUPPLIERS
from worker.domain.consent.accounts import AccountState
from worker.stores.redis.consent_flows import ConsentFlow
from worker.web.consent.callback import answer_callback
from worker.web.consent.start import CONSENT_STARTS, is_known_supplier, is_simulator, start_flow
from worker.web.context import (
    ContextDep,
    ServiceContext,
    SessionDep,
    read_browser_id,
    set_browser_cookie,
)
from worker.web.rate_limit import RateLimiter, client_address
from worker.web.render import render_message

router = APIRouter(include_in_schema=False)

_START_AGAIN: Final = (f"/connect/{ENEDIS.name}", "connect.again")
_HOME: Final = ("/", "connect.home")


@router.get("/connect/{supplier}")
def start_consent(request: Request, supplier: str, context: ContextDep) -> Response:
    """Redirect to the supplier's page. ``?usage_point_id=`` chooses a home of the simulator."""
    if supplier in SUPPLIERS:
        return _redirect_to_supplier(request, context, supplier, request.query_params.get("usage_point_id"))
    return _message_page(request, "unknown_supplier", 404)


@router.get("/renew/{token}")
def renew_consent(request: Request, token: str, context: ContextDep) -> Response:
    """Redirect to the supplier's page from a signed renewal link, which keeps the account and its history."""
    account_id = context.signer.read_renewal(token)
    if account_id is None:
        return _message_page(request, "link_expired", 410)
    account = context.runtime.registry.get_many([account_id]).get(account_id)
    if account is None or account.state is AccountState.DELETED:
        return _message_page(request, "account_gone", 410)
    return _redirect_to_supplier(request, context, account.supplier, account.usage_point_id, renews=account.id)


@router.get("/callback/{supplier}")
def receive_callback(request: Request, supplier: str, context: ContextDep, session: SessionDep) -> Response:
    """Receive a person who comes back from the supplier's page."""
    if not is_known_supplier(supplier):
        return _message_page(request, "unknown_supplier", 404)
    return answer_callback(request, context, session)


def _redirect_to_supplier(
    request: Request, context: ServiceContext, supplier: str, usage_point_id: str | None, renews: str | None = None
) -> Response:
    runtime = context.runtime
    if wait_s := RateLimiter(runtime.redis).count_call(CONSENT_STARTS, client_address(request)):
        response = _message_page(request, "too_many", 429)
        response.headers["Retry-After"] = str(wait_s)
        return response
    browser_id = read_browser_id(context, request) or secrets.token_urlsafe(24)
    hint = usage_point_id if usage_point_id and USAGE_POINT.fullmatch(usage_point_id) else None
    flow = ConsentFlow(supplier, browser_id, renews)
    try:
        page = start_flow(runtime, flow, "/callback/enedis", hint if is_simulator(runtime) else None)
    except ValueError:  # The customers of the sandbox have consented already.
        return _message_page(request, "no_consent_page", 503)
    response = RedirectResponse(page, 303)
    set_browser_cookie(context, response, browser_id)
    return response


def _message_page(request: Request, name: str, status: int) -> Response:
    action = _HOME if name in ("unknown_supplier", "too_many", "no_consent_page") else _START_AGAIN
    return render_message(request, f"connect.{name}", status, action)
