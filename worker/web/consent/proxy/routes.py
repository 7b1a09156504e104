"""The proxy's page that names the client, its button, and the callback."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from worker.clients.suppliers import ENEDIS
from worker.domain.consent.invitations import Invitation
from worker.domain.consent.proxy import LONGEST_ADDRESS, host_of
from worker.runtime.process import Runtime
from worker.stores.redis.rate_limits import RateLimiter
from worker.web.addresses import client_address
from worker.web.audit import note_subject
from worker.web.consent.callback import answer_callback, consent_page
from worker.web.consent.invitation import INVITATION_TRIES
from worker.web.consent.proxy.clients import AuthorizationRequest, read_authorization_request
from worker.web.consent.routes import CONSENT_STARTS, PORTAL_SUFFIX, begin_flow, new_browser_id
from worker.web.context import (
    RuntimeDep,
    SessionDep,
    hash_browser_id,
    read_browser_id,
    read_form_browser,
    set_browser_cookie,
)
from worker.web.errors import HttpRefusal
from worker.web.render import refuse_form, render
from worker.web.security import policy_with_form_to

router = APIRouter()

_FIELDS = ("client_id", "redirect_uri", "response_type", "state", "code_challenge", "code_challenge_method")


@router.get("/{supplier}/auth")
def show_client(request: Request, supplier: str, runtime: RuntimeDep) -> Response:
    """Show who asks for the data, and the button that leads on. Nothing is stored before it is pressed."""
    check_supplier(supplier)
    asked = read_authorization_request(request, runtime, request.query_params.multi_items())
    if not isinstance(asked, AuthorizationRequest):
        return asked
    browser_id = read_browser_id(runtime, request) or new_browser_id()
    response = render(
        request,
        "proxy.html",
        action=f"/proxy/{supplier}/auth",
        client=asked.client.name,
        host=host_of(asked.caller.redirect_uri),
        parameters={name: text for name in (*_FIELDS, "usage_point_id") if (text := asked.parameters.get(name))},
        browser_csrf=runtime.web_access.signer.csrf_token(browser_id),
        needs_invitation=not runtime.clients.account_tokens,
        opened=_find_opened(runtime, asked, browser_id) is not None,
    )
    set_browser_cookie(runtime, response, browser_id)
    # Where the supplier shows no page, the same chain of redirects leads on to the client.
    response.headers["Content-Security-Policy"] = policy_with_form_to(
        runtime.endpoints.authorize_url, asked.caller.redirect_uri
    )
    return response


@router.post("/{supplier}/auth")
def lead_on(
    request: Request,
    supplier: str,
    runtime: RuntimeDep,
    client_id: Annotated[str, Form(max_length=64)] = "",
    redirect_uri: Annotated[str, Form(max_length=LONGEST_ADDRESS)] = "",
    response_type: Annotated[str, Form(max_length=64)] = "code",
    state: Annotated[str, Form(max_length=2000)] = "",
    code_challenge: Annotated[str | None, Form(max_length=200)] = None,
    code_challenge_method: Annotated[str | None, Form(max_length=64)] = None,
    usage_point_id: Annotated[str, Form(max_length=64)] = "",
    invitation: Annotated[str, Form(max_length=2000)] = "",
    csrf: Annotated[str, Form(max_length=200)] = "",
) -> Response:
    """Begin the consent that the person agreed to, in this browser, and lead on to the supplier's page."""
    check_supplier(supplier)
    if (browser_id := read_form_browser(runtime, request, csrf)) is None:
        return refuse_form(request, "/")
    texts = (client_id, redirect_uri, response_type, state, code_challenge, code_challenge_method)
    pairs = [(name, text) for name, text in zip(_FIELDS, texts, strict=True) if text]
    asked = read_authorization_request(request, runtime, [*pairs, ("usage_point_id", usage_point_id)])
    if not isinstance(asked, AuthorizationRequest):
        return asked
    if wait_s := RateLimiter(runtime.redis).count_call(CONSENT_STARTS, client_address(request)):
        return consent_page(request, "too_many", wait_s)
    path = f"/proxy/{supplier}/redirect"
    if runtime.clients.account_tokens:
        return begin_flow(request, runtime, asked.flow(supplier, browser_id), path, asked.hint)
    if wait_s := RateLimiter(runtime.redis).count_call(INVITATION_TRIES, client_address(request)):
        return consent_page(request, "too_many", wait_s)
    invited = _open_invitation(runtime, asked, browser_id, invitation.strip().rpartition("#")[2])
    meter = None if invited is None else runtime.registry.meter_of(invited)
    if invited is None or meter is None:
        return consent_page(request, "invitation_over")
    note_subject(request, invited.id, account_id=invited.account_id, tenant=invited.tenant)
    return begin_flow(request, runtime, asked.flow(supplier, browser_id, invited.id), path, meter)


@router.get("/{supplier}/redirect")
@router.get(f"/{{supplier}}/redirect{PORTAL_SUFFIX}")
def receive_callback(request: Request, supplier: str, runtime: RuntimeDep, session: SessionDep) -> Response:
    """Receive a person who comes back from the supplier's page.

    The supplier knows one address of ours, so a household of our own may come here too.
    """
    check_supplier(supplier)
    return answer_callback(request, runtime, session, runtime.clients.supplier.name)


def check_supplier(supplier: str) -> None:
    """Check that the proxy knows the supplier. Raises HttpRefusal 404."""
    if supplier != ENEDIS.name:
        raise HttpRefusal(404, "not_found", "there is no proxy here")


def _find_opened(runtime: Runtime, asked: AuthorizationRequest, browser_id: str) -> Invitation | None:
    """Return the invitation of the client's tenant that this browser has opened before, where one is needed."""
    if runtime.clients.account_tokens:
        return None
    return runtime.invitations.find_opened(hash_browser_id(browser_id), asked.client.tenant)


def _open_invitation(runtime: Runtime, asked: AuthorizationRequest, browser_id: str, secret: str) -> Invitation | None:
    """Bind the invitation to this browser and return it, or the one that it has opened before.

    None for an invitation of another tenant, as for one that nobody has made; it stays as it was.
    """
    if not secret:
        return _find_opened(runtime, asked, browser_id)
    invitation = runtime.invitations.find(secret)
    if invitation is None or invitation.tenant != asked.client.tenant:
        return None
    return runtime.invitations.open(secret, hash_browser_id(browser_id))
