"""The proxy's page that names the client, its button, and the callback."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, Request, Response

from worker.clients.suppliers import ENEDIS
from worker.domain.invitation import Invitation
from worker.domain.oauth_proxy import LONGEST_ADDRESS, host_of
from worker.runtime.sync_parts import Runtime
from worker.web.audit import note_subject
from worker.web.consent.browser_names import BrowserNames, read_browser_names, set_browser_names
from worker.web.consent.callback import answer_callback, consent_page
from worker.web.consent.proxy.clients import AuthorizationRequest, read_authorization_request
from worker.web.consent.routes import PORTAL_SUFFIX, begin_flow
from worker.web.consent.starts import count_start, count_wrong_invitation
from worker.web.context import RuntimeDep, SessionDep, is_own_form
from worker.web.errors import HttpRefusal
from worker.web.render import refuse_form, render_with_form
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
    response = render_with_form(
        request,
        "proxy.html",
        action=f"/proxy/{supplier}/auth",
        client=asked.client.name,
        host=host_of(asked.caller.redirect_uri),
        parameters={name: text for name in (*_FIELDS, "usage_point_id") if (text := asked.parameters.get(name))},
        needs_invitation=not runtime.clients.account_tokens,
        opened=_find_opened(runtime, asked, read_browser_names(runtime, request)) is not None,
    )
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
    session: SessionDep,
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
    if not is_own_form(runtime, request, csrf):
        return refuse_form(request, "/")
    texts = (client_id, redirect_uri, response_type, state, code_challenge, code_challenge_method)
    pairs = [(name, text) for name, text in zip(_FIELDS, texts, strict=True) if text]
    asked = read_authorization_request(request, runtime, [*pairs, ("usage_point_id", usage_point_id)])
    if not isinstance(asked, AuthorizationRequest):
        return asked
    names = read_browser_names(runtime, request)
    renamed, invited, meter = names.with_new(), None, asked.hint
    if not runtime.clients.account_tokens:
        invited = _open_invitation(runtime, asked, names, renamed, invitation.strip().rpartition("#")[2])
        meter = None if invited is None else runtime.registry.meter_of(invited)
        if invited is None or meter is None:
            wait_s = count_wrong_invitation(request, runtime)
            return consent_page(request, "too_many", wait_s) if wait_s else consent_page(request, "invitation_over")
    if wait_s := count_start(request, runtime, session, names, invited):
        response = consent_page(request, "too_many", wait_s)
    else:
        if invited is not None:
            note_subject(request, invited.id, account_id=invited.account_id, tenant=invited.tenant)
        flow = asked.flow(supplier, renamed.newest, invited.id if invited else None)
        response = begin_flow(request, runtime, flow, f"/proxy/{supplier}/redirect", meter)
    set_browser_names(runtime, response, renamed)
    return response


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


def _find_opened(runtime: Runtime, asked: AuthorizationRequest, names: BrowserNames) -> Invitation | None:
    """Return the invitation of the client's tenant that this browser has opened before, where one is needed."""
    if runtime.clients.account_tokens:
        return None
    return runtime.invitations.find_opened(names.hashes, asked.client.tenant)


def _open_invitation(
    runtime: Runtime, asked: AuthorizationRequest, names: BrowserNames, renamed: BrowserNames, secret: str
) -> Invitation | None:
    """Bind the invitation to the browser's new name and return it, or the one that the browser has opened before.

    None for an invitation of another tenant, as for one that nobody has made; it stays as it was.
    """
    if not secret:
        return _find_opened(runtime, asked, names)
    invitation = runtime.invitations.find(secret)
    if invitation is None or invitation.tenant != asked.client.tenant:
        return None
    return runtime.invitations.open(secret, renamed.newest, names.hashes)
