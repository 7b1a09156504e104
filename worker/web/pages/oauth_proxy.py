"""The OAuth proxy, for clients with accounts of their own, such as Cozy stacks: one callback address at the supplier.

1. A client sends the person to ``/auth``, whose page names the client. Its button leads on to the supplier's page.
2. The supplier sends the person to ``/redirect``. Where the consent is proven, the person goes on to the client's own
   address with a code of ours.
3. The client exchanges the code at ``/token``, and later renews its token there, in plain OAuth 2.0 (RFC 6749, 4.1.3
   and 6).
4. With v5 and 2026 it reads the one meter of its grant at ``/data``, as the supplier sends it: the application's own
   token never leaves us.

The supplier takes 100 characters of state and knows one callback address, so the client's state and address wait in
Redis. A client is one that ``releve access add-client`` has made.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Final
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Form, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer
from starlette.requests import ClientDisconnect

from worker.accounts.proxy_grants import InvalidGrant, OtherMeter, TokenAnswer, TooEarly, read_query
from worker.clients.enedis import ENEDIS
from worker.domain.answers import Answer, AnswerKind
from worker.domain.audit_entry import ActorKind
from worker.domain.invitation import Invitation
from worker.domain.oauth_proxy import (
    CHALLENGE_METHOD,
    LONGEST_ADDRESS,
    LONGEST_STATE,
    ProxyCaller,
    ProxyClient,
    ProxyGrant,
    host_of,
    is_code_challenge,
)
from worker.domain.retry import CLIENT_DELAY_S
from worker.errors import AccountError, RateLimited, RequestRefused, SeriesNotOffered, TransientError, WorkerError
from worker.logs import fields
from worker.runtime.consent_parts import Consent
from worker.runtime.stores import Stores
from worker.runtime.sync_parts import Sync
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.redis.pending_consents import ConsentFlow
from worker.stores.registry import Registry
from worker.web.client_addresses import client_address
from worker.web.dependencies import AccessDep, ConsentDep, SessionDep, StoresDep, SyncDep, is_own_form
from worker.web.error_pages import HttpRefusal
from worker.web.pages.consent import begin_flow, count_start, count_wrong_invitation
from worker.web.pages.consent_callback import (
    PORTAL_SUFFIX,
    BrowserNames,
    answer_callback,
    consent_page,
    read_browser_names,
    set_browser_names,
)
from worker.web.rendering import policy_with_form_to, refuse_form, render_message, render_with_form
from worker.web.request_audit import leave_out, note_actor, note_subject

log = logging.getLogger("releve.proxy")
router = APIRouter(prefix="/proxy")
_FIELDS: Final = ("client_id", "redirect_uri", "response_type", "state", "code_challenge", "code_challenge_method")
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_REALM: Final = 'Bearer realm="releve"'
_MOST_BYTES: Final = 5_000_000  # Of an answer: a week of load curve has some 100 kB, three years of days some 200 kB.
_REFUSED_ANSWERS: Final = {
    AnswerKind.NO_DATA: (404, "no_data", "the supplier has no data for these days"),
    AnswerKind.BEFORE_HISTORY: (400, "invalid_request", "the supplier's history begins later: ask for later days"),
    AnswerKind.TOO_LONG: (400, "invalid_request", "these are more days than the supplier sends in one answer"),
    AnswerKind.END_TOO_LATE: (400, "invalid_request", "the end must be a day earlier"),
}
_basic = HTTPBasic(realm="releve", auto_error=False)
_bearer = HTTPBearer(auto_error=False)
# A secret of 256 bits can't be guessed, and the right one is always heard. These bounds make tries visible and cheap.
_WRONG_OF_ADDRESS: Final = Rate("proxy-address", calls=10, window_s=300)
_WRONG_OF_CLIENT: Final = Rate("proxy-client", calls=50, window_s=300)
_WRONG_TOKENS: Final = Rate("proxy-token", calls=60, window_s=300)


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A request for a consent that may be shown to the person. ``parameters``: as they were sent, to be sent again."""

    client: ProxyClient
    caller: ProxyCaller
    hint: str | None = field(repr=False)
    parameters: Mapping[str, str] = field(repr=False)

    def flow(self, supplier: str, browser: str, invitation_id: str | None = None) -> ConsentFlow:
        """Return the consent flow that this request begins in a browser, by the hash of its newest name."""
        return ConsentFlow(supplier, browser, invitation=invitation_id, tenant=self.client.tenant, caller=self.caller)


@router.get("/{supplier}/auth")
def show_client(request: Request, supplier: str, stores: StoresDep, sync: SyncDep) -> Response:
    """Show who asks for the data, and the button that leads on. Nothing is stored before it is pressed."""
    check_supplier(supplier)
    asked = read_authorization_request(request, stores, request.query_params.multi_items())
    if not isinstance(asked, AuthorizationRequest):
        return asked
    response = render_with_form(
        request,
        "proxy.html",
        action=f"/proxy/{supplier}/auth",
        client=asked.client.name,
        host=host_of(asked.caller.redirect_uri),
        parameters={name: text for name in (*_FIELDS, "usage_point_id") if (text := asked.parameters.get(name))},
        needs_invitation=not sync.suppliers.main.account_tokens,
        opened=_find_opened(stores.registry, sync, asked, read_browser_names(request)) is not None,
    )
    # Where the supplier shows no page, the same chain of redirects leads on to the client.
    response.headers["Content-Security-Policy"] = policy_with_form_to(
        sync.suppliers.main.endpoints.authorize_url, asked.caller.redirect_uri
    )
    return response


@router.post("/{supplier}/auth")
def lead_on(
    request: Request,
    supplier: str,
    stores: StoresDep,
    sync: SyncDep,
    consent: ConsentDep,
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
    if not is_own_form(request, csrf):
        return refuse_form(request, "/")
    texts = (client_id, redirect_uri, response_type, state, code_challenge, code_challenge_method)
    pairs = [(name, text) for name, text in zip(_FIELDS, texts, strict=True) if text]
    asked = read_authorization_request(request, stores, [*pairs, ("usage_point_id", usage_point_id)])
    if not isinstance(asked, AuthorizationRequest):
        return asked
    names = read_browser_names(request)
    renamed, invited, meter = names.with_new(), None, asked.hint
    if not sync.suppliers.main.account_tokens:
        invited = _open_invitation(stores.registry, sync, asked, names, renamed, invitation.strip().rpartition("#")[2])
        meter = None if invited is None else stores.registry.accounts.meter_of(invited)
        if invited is None or meter is None:
            wait_s = count_wrong_invitation(request, stores)
            return consent_page(request, "too_many", wait_s) if wait_s else consent_page(request, "invitation_over")
    if wait_s := count_start(request, stores, session, names, invited):
        response = consent_page(request, "too_many", wait_s)
    else:
        if invited is not None:
            note_subject(request, invited.id, account_id=invited.account_id, tenant=invited.tenant)
        flow = asked.flow(supplier, renamed.newest, invited.id if invited else None)
        response = begin_flow(request, stores, sync, consent, flow, f"/proxy/{supplier}/redirect", meter)
    set_browser_names(request, response, renamed)
    return response


@router.get("/{supplier}/redirect")
@router.get(f"/{{supplier}}/redirect{PORTAL_SUFFIX}")
def receive_callback(
    request: Request,
    supplier: str,
    stores: StoresDep,
    sync: SyncDep,
    consent: ConsentDep,
    access: AccessDep,
    session: SessionDep,
) -> Response:
    """Receive a person who comes back from the supplier's page.

    The supplier knows one address of ours, so a household of our own may come here too.
    """
    check_supplier(supplier)
    return answer_callback(request, stores, consent, access, session, sync.suppliers.main.supplier.name)


def read_authorization_request(
    request: Request, stores: Stores, pairs: list[tuple[str, str]]
) -> AuthorizationRequest | Response:
    """Return the request for a consent in these parameters, or the answer that refuses it.

    Where client or address are wrong, the person stays here; for the rest the client hears of it (RFC 6749, 4.1.2.1).
    """
    parameters = dict(pairs)
    client = stores.registry.proxy_clients.find(parameters.get("client_id", ""))
    redirect_uri = parameters.get("redirect_uri", "")
    # A parameter that is named twice may mean its other value to another reader.
    if client is None or redirect_uri not in client.redirect_uris or len(parameters) < len(pairs):
        return render_message(request, "proxy.unknown", 400, ("/", "connect.home"))
    state, challenge = parameters.get("state", ""), parameters.get("code_challenge") or None
    has_state = 0 < len(state) <= LONGEST_STATE
    issuer = f"{stores.settings.public_url}/proxy/{request.path_params['supplier']}" if client.strict else None
    state = state if has_state else ""
    caller = ProxyCaller(client.id, redirect_uri, state, challenge, issuer, client.numbers_in_redirect)
    if fault := _find_fault(client, parameters, has_state=has_state, challenge=challenge):
        error, description = fault
        return RedirectResponse(caller.address(error=error, error_description=description), 302)
    return AuthorizationRequest(client, caller, parameters.get("usage_point_id"), parameters)


def _find_fault(
    client: ProxyClient, parameters: Mapping[str, str], *, has_state: bool, challenge: str | None
) -> tuple[str, str] | None:
    """Return the error and its description of a request that can't be served; None where it can."""
    if parameters.get("response_type", "code") != "code":
        return "unsupported_response_type", "only response_type=code is supported"
    if not has_state:
        return "invalid_request", f"state is missing or longer than {LONGEST_STATE} characters"
    method = parameters.get("code_challenge_method")
    if challenge is None and client.pkce:
        return "invalid_request", "this client needs a code_challenge"
    if challenge is None and method is None:
        return None
    if challenge is None or method != CHALLENGE_METHOD or not is_code_challenge(challenge):
        return "invalid_request", f"code_challenge must have the method {CHALLENGE_METHOD} and 43 characters"
    return None


def check_supplier(supplier: str) -> None:
    """Check that the proxy knows the supplier. Raises HttpRefusal 404."""
    if supplier != ENEDIS.name:
        raise HttpRefusal(404, "not_found", "there is no proxy here")


def _find_opened(registry: Registry, sync: Sync, asked: AuthorizationRequest, names: BrowserNames) -> Invitation | None:
    """Return the invitation of the client's tenant that this browser has opened before, where one is needed."""
    if sync.suppliers.main.account_tokens:
        return None
    return registry.invitations.find_opened(names.hashes, asked.client.tenant)


def _open_invitation(
    registry: Registry, sync: Sync, asked: AuthorizationRequest, names: BrowserNames, renamed: BrowserNames, secret: str
) -> Invitation | None:
    """Bind the invitation to the browser's new name and return it, or the one that the browser has opened before.

    None for an invitation of another tenant, as for one that nobody has made; it stays as it was.
    """
    if not secret:
        return _find_opened(registry, sync, asked, names)
    invitation = registry.invitations.find(secret)
    if invitation is None or invitation.tenant != asked.client.tenant:
        return None
    return registry.invitations.open(secret, renamed.newest, names.hashes)


async def read_form(request: Request) -> dict[str, str]:
    """Return the form's fields. A name that comes twice is refused: another reader might take the other value."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM_TYPE:
        raise HttpRefusal(400, "invalid_request", f"send {_FORM_TYPE}")
    try:
        body = await request.body()
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, max_num_fields=50, errors="strict")
    except (ValueError, ClientDisconnect):
        raise HttpRefusal(400, "invalid_request", "the form can't be read") from None
    if len(dict(pairs)) < len(pairs):
        raise HttpRefusal(400, "invalid_request", "a parameter is given twice")
    return dict(pairs)


@router.post("/{supplier}/token")
def issue_token(
    request: Request,
    supplier: str,
    stores: StoresDep,
    consent: ConsentDep,
    form: Annotated[dict[str, str], Depends(read_form)],
    basic: Annotated[HTTPBasicCredentials | None, Depends(_basic)],
) -> Response:
    """Answer the exchange of a code, and each renewal of a token."""
    check_supplier(supplier)
    client = authenticate_client(request, stores, form, basic)
    note_actor(request, ActorKind.CLIENT, client.id, client.tenant)
    try:
        answer = JSONResponse(_answer(consent, client, form), headers={"Pragma": "no-cache"})
    except WorkerError as error:
        raise to_refusal(error) from error
    if form.get("grant_type") == "refresh_token":
        leave_out(request)  # A client comes each hour, and reads nothing more than before.
    return answer


def authenticate_client(
    request: Request, stores: Stores, form: Mapping[str, str], basic: HTTPBasicCredentials | None
) -> ProxyClient:
    """Return the client whose id and secret came in a Basic header or in the form (RFC 6749, 2.3.1).

    Raises HttpRefusal 400 where it came in both, 401, or 429 after too many wrong ones of an address or a client.
    """
    if basic and form.get("client_secret"):
        raise HttpRefusal(400, "invalid_request", "authenticate the client in the header or in the form, not in both")
    sent = (basic.username, basic.password) if basic else (form.get("client_id", ""), form.get("client_secret", ""))
    client = stores.registry.proxy_clients.authenticate(*sent)
    if client is not None:
        return client
    limiter, address = RateLimiter(stores.redis), client_address(request)
    known = stores.registry.proxy_clients.find(sent[0])  # Made-up ids would fill Redis.
    waits_s = [limiter.count_call(_WRONG_OF_ADDRESS, address)]
    waits_s += [limiter.count_call(_WRONG_OF_CLIENT, known.id)] if known else []
    log.warning("proxy client refused", extra=fields(address=address, client=known.id if known else None))
    if wait_s := max(waits_s):
        raise HttpRefusal(429, "temporarily_unavailable", "too many wrong secrets: try again later", wait_s=wait_s)
    headers = {"WWW-Authenticate": 'Basic realm="releve"'} if basic else None
    raise HttpRefusal(401, "invalid_client", "client_id or client_secret is wrong", headers)


def _answer(consent: Consent, client: ProxyClient, form: Mapping[str, str]) -> TokenAnswer:
    match form.get("grant_type"):
        case "authorization_code":
            code = _required_field(form, "code")
            verifier = form.get("code_verifier") or None
            return consent.proxy_grants.exchange(client, code, form.get("redirect_uri"), verifier)
        case "refresh_token":
            return consent.proxy_grants.refresh(client, _required_field(form, "refresh_token"))
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


@router.get("/{supplier}/data/{path:path}")
def read_data(
    request: Request,
    supplier: str,
    path: str,
    stores: StoresDep,
    sync: SyncDep,
    consent: ConsentDep,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Response:
    """Return the supplier's answer for a meter that the access token's grant is for."""
    check_supplier(supplier)
    if sync.suppliers.main.account_tokens:
        message = "the token is the supplier's: use it there directly"
        raise HttpRefusal(404, "not_found", message)
    grant = _find_grant(request, stores, consent, bearer)
    pairs = request.query_params.multi_items()
    try:
        query = read_query(sync.suppliers.main.endpoints.preset, f"/{path}", dict(pairs))
        if query is not None and len(dict(pairs)) < len(pairs):
            raise ValueError("a parameter is given twice")
    except ValueError as error:
        raise HttpRefusal(400, "invalid_request", str(error)) from None
    if query is None:
        raise HttpRefusal(404, "not_found", "no series of the supplier has this path")
    try:
        return _to_response(consent.proxy_grants.read(grant, query))
    except OtherMeter:
        # The same for every other meter, known here or not.
        message = "this token is not for this meter"
        raise HttpRefusal(403, "insufficient_scope", message, _challenge("insufficient_scope")) from None
    except TooEarly as error:
        message = f"the meter was another person's before {error}: ask for later days"
        raise HttpRefusal(400, "invalid_request", message) from None
    except AccountError as error:
        message = "the supplier finds no consent for this meter: consent again"
        raise HttpRefusal(403, "access_denied", message) from error
    except SeriesNotOffered:
        raise HttpRefusal(404, "no_data", "this meter has no such series") from None
    except WorkerError as error:
        raise to_refusal(error) from error


def _find_grant(
    request: Request, stores: Stores, consent: Consent, bearer: HTTPAuthorizationCredentials | None
) -> ProxyGrant:
    """Return the grant of the call's token, and count the call. Raises HttpRefusal 401 or 429."""
    limiter = RateLimiter(stores.redis)
    grant = consent.proxy_grants.find_grant(bearer.credentials) if bearer else None
    if grant is None:
        if wait_s := limiter.count_call(_WRONG_TOKENS, client_address(request)):
            raise HttpRefusal(429, "temporarily_unavailable", "too many wrong tokens: try again later", wait_s=wait_s)
        message = "send an access token as `Authorization: Bearer …`; this one is unknown or has expired"
        raise HttpRefusal(401, "invalid_token", message, _challenge("invalid_token" if bearer else ""))
    rate = Rate("proxy-grant", stores.settings.api_calls_per_minute)
    if wait_s := limiter.count_call(rate, grant.id):
        raise HttpRefusal(429, "temporarily_unavailable", "too many calls: try again later", wait_s=wait_s)
    return grant


def _to_response(answer: Answer) -> Response:
    if answer.kind is not AnswerKind.DATA:
        raise HttpRefusal(*_REFUSED_ANSWERS[answer.kind])
    response = JSONResponse(answer.payload)
    if len(response.body) > _MOST_BYTES:
        raise HttpRefusal(502, "server_error", "the supplier's answer is too long: ask for fewer days")
    return response


def _challenge(error: str) -> dict[str, str]:
    return {"WWW-Authenticate": f'{_REALM}, error="{error}"' if error else _REALM}
