"""Connecting a meter: to the supplier's consent page and back."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from worker.clients.enedis.client import USAGE_POINT
from worker.domain.consent.accounts import AccountState
from worker.errors import UnknownAccount
from worker.stores.redis.consent_flows import ConsentFlow
from worker.web.consent.callback import arrive
from worker.web.consent.start import STARTS, begin, is_pretend, known_supplier
from worker.web.context import ContextDep, ServiceContext, SessionDep, browser_of, mark, new_browser
from worker.web.rate_limit import Limiter, address_of
from worker.web.render import render

router = APIRouter(include_in_schema=False)


@router.get("/connect/{supplier}")
def start_consent(request: Request, supplier: str, house: ContextDep) -> Response:
    """Off to the supplier's page.  ``?usage_point_id=`` picks a simulator's home and is nothing to a real one."""
    if supplier == "enedis":
        return _leave(request, house, ConsentFlow(supplier), request.query_params.get("usage_point_id"))
    return _message(request, "unknown_supplier", 404)


@router.get("/renew/{token}")
def renew_consent(request: Request, token: str, house: ContextDep) -> Response:
    """The same by a signed link that was sent to the owner: the account and its history go on."""
    account_id = house.signer.renewed_account(token)
    if account_id is None:
        return _message(request, "link_expired", 410)
    try:
        account = house.runtime.registry.get(account_id)
    except UnknownAccount:
        return _message(request, "account_gone", 410)
    if account.state is AccountState.DELETED:
        return _message(request, "account_gone", 410)
    return _leave(request, house, ConsentFlow(account.supplier, renews=account.id), account.usage_point_id)


@router.get("/callback/{supplier}")
def come_back(request: Request, supplier: str, house: ContextDep, session: SessionDep) -> Response:
    """Back from the supplier's page."""
    if not known_supplier(supplier):
        return _message(request, "unknown_supplier", 404)
    return arrive(request, house, session)


def _leave(request: Request, house: ServiceContext, handshake: ConsentFlow, usage_point_id: str | None) -> Response:
    runtime = house.runtime
    if wait_s := Limiter(runtime.redis).wait_s(STARTS, address_of(request)):
        response = _message(request, "too_many", 429)
        response.headers["Retry-After"] = str(wait_s)
        return response
    browser = browser_of(house, request) or new_browser()
    hint = usage_point_id if usage_point_id and USAGE_POINT.fullmatch(usage_point_id) else None
    begun = ConsentFlow(handshake.supplier, browser, handshake.renews)
    try:
        page = begin(runtime, begun, "/callback/enedis", hint if is_pretend(runtime) else None)
    except ValueError:  # a sandbox whose customers have consented already
        return _message(request, "no_consent_page", 503)
    response = RedirectResponse(page, 303)
    mark(house, response, browser)
    return response


def _message(request: Request, name: str, status: int) -> Response:
    action = ("/", "connect.home") if name in ("unknown_supplier", "too_many", "no_consent_page") else _START
    return render(
        request, "message.html", status, title=f"connect.{name}.title", text=f"connect.{name}.text", action=action
    )


_START = ("/connect/enedis", "connect.again")
