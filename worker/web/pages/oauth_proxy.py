"""The OAuth proxy, through which clients with their own accounts, such as Cozy stacks, share one callback address.

1. A client sends the person to ``/auth``, a page that names the client. The page's button leads to the supplier's page.
2. The supplier sends the person to ``/redirect``. If the consent is proven, the person continues to the client's own
   address with a code of ours.
3. The client exchanges the code at ``/token``, and later renews its token there, in plain OAuth 2.0 (RFC 6749, 4.1.3
   and 6).
4. With enedis-v5 and enedis-2026, the client reads the data of the one meter of its grant at ``/data``, in the
   supplier's own form. The token with which Relève itself calls the supplier never leaves Relève.

The supplier accepts 100 characters of state and knows one callback address, so the client's state and address are kept
in Redis. Clients are created with ``releve access add-client``.
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
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect

from worker.accounts.proxy_grants import InvalidGrant, OtherMeter, ProxyGrants, TokenAnswer, TooEarly, read_query
from worker.clients.enedis import ENEDIS
from worker.domain.answers import Answer, AnswerKind
from worker.domain.audit_entry import ActorKind, AuditAction
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
from worker.stores.redis.locks import Rate
from worker.stores.redis.pending_consents import ConsentFlow
from worker.web.dependencies import EarlyAnswer, Visit, VisitDep, check_own_form
from worker.web.error_pages import HttpRefusal
from worker.web.pages.consent import begin_flow, count_start, refuse_invitation
from worker.web.pages.consent_callback import PORTAL_SUFFIX, ConsentVisit, ConsentVisitDep, answer_callback
from worker.web.rendering import render_message, render_with_form
from worker.web.request_audit import leave_out, note_actor, note_subject

log = logging.getLogger("releve.proxy")


def check_supplier(supplier: str) -> None:
    """Check that the proxy knows the supplier. Raises HttpRefusal 404."""
    if supplier != ENEDIS.name:
        raise HttpRefusal(404, "not_found", "there is no proxy here")


router = APIRouter(prefix="/proxy", dependencies=[Depends(check_supplier)])
_FIELDS: Final = ("client_id", "redirect_uri", "response_type", "state", "code_challenge", "code_challenge_method")
_FORM_TYPE: Final = "application/x-www-form-urlencoded"
_REALM: Final = 'Bearer realm="releve"'
_MOST_BYTES: Final = 5_000_000  # For an answer: a week of load curve has some 100 kB, three years of days some 200 kB.
_REFUSED_ANSWERS: Final = {
    AnswerKind.NO_DATA: (404, "no_data", "the supplier has no data for these days"),
    AnswerKind.BEFORE_HISTORY: (400, "invalid_request", "the supplier's history begins later: ask for later days"),
    AnswerKind.TOO_LONG: (400, "invalid_request", "these are more days than the supplier sends in one answer"),
    AnswerKind.END_TOO_LATE: (400, "invalid_request", "the end must be a day earlier"),
}
_basic = HTTPBasic(realm="releve", auto_error=False)
_bearer = HTTPBearer(auto_error=False)
# A secret of 256 bits can't be guessed, and the right secret is always accepted. These limits only make wrong secrets
# visible, and cheap to refuse.
_WRONG_OF_ADDRESS: Final = Rate("proxy-address", calls=10, window_s=300)
_WRONG_OF_CLIENT: Final = Rate("proxy-client", calls=50, window_s=300)
_WRONG_TOKENS: Final = Rate("proxy-token", calls=60, window_s=300)


@dataclass(frozen=True, slots=True)
class AuthorizationRequest:
    """A valid request for a consent, to be shown to the person.

    ``hint``: the number of the meter that the client suggests. ``parameters``: the parameters as received, which the
    page's form sends again.
    """

    client: ProxyClient
    caller: ProxyCaller
    hint: str | None = field(repr=False)
    parameters: Mapping[str, str] = field(repr=False)

    def flow(self, supplier: str, browser: str, invitation_id: str | None = None) -> ConsentFlow:
        """Return the consent flow that this request begins. ``browser``: the hash of the browser's newest name."""
        return ConsentFlow(supplier, browser, invitation=invitation_id, tenant=self.client.tenant, caller=self.caller)


class AuthorizationForm(BaseModel):
    """The form on the page that names the client: the parameters of the request, and an invitation."""

    client_id: str = Field("", max_length=64)
    redirect_uri: str = Field("", max_length=LONGEST_ADDRESS)
    response_type: str = Field("code", max_length=64)
    state: str = Field("", max_length=2000)
    code_challenge: str = Field("", max_length=200)
    code_challenge_method: str = Field("", max_length=64)
    usage_point_id: str = Field("", max_length=64)
    invitation: str = Field("", max_length=2000)
    csrf: str = Field("", max_length=200)


@router.get("/{supplier}/auth")
def show_client(visit: ConsentVisitDep, supplier: str) -> Response:
    """Show which client requests the data, and a button that continues. Nothing is stored before the button is used."""
    asked, main = read_authorization_request(visit, visit.request.query_params.multi_items()), visit.sync.suppliers.main
    return render_with_form(
        visit.request,
        "proxy.html",
        # Browsers check all redirects that follow. If the supplier shows no page, the redirects lead to the client.
        form_to=[main.endpoints.authorize_url, asked.caller.redirect_uri],
        action=f"/proxy/{supplier}/auth",
        client=asked.client.name,
        host=host_of(asked.caller.redirect_uri),
        parameters={name: text for name in (*_FIELDS, "usage_point_id") if (text := asked.parameters.get(name))},
        needs_invitation=not main.account_tokens,
        opened=not main.account_tokens and _find_opened(visit, asked) is not None,
    )


@router.post("/{supplier}/auth", name=AuditAction.CONSENT_BEGIN)
def lead_on(visit: ConsentVisitDep, supplier: str, form: Annotated[AuthorizationForm, Form()]) -> Response:
    """Begin a consent in this browser, as the person has agreed, and redirect to the supplier's page."""
    check_own_form(visit.request, form.csrf, "/")
    sent = form.model_dump(include={*_FIELDS})
    pairs = [(name, sent[name]) for name in _FIELDS if sent[name]]
    asked = read_authorization_request(visit, [*pairs, ("usage_point_id", form.usage_point_id)])
    invited, meter = None, asked.hint
    if not visit.sync.suppliers.main.account_tokens:
        invited = _open_invitation(visit, asked, form.invitation.strip().rpartition("#")[2])
        meter = visit.registry.accounts.meter_of(invited) if invited else None
        if meter is None:
            return refuse_invitation(visit)
    if wait_s := count_start(visit, invited):
        return visit.rename(visit.page("too_many", wait_s))
    if invited is not None:
        note_subject(visit.request, invited.id, account_id=invited.account_id, tenant=invited.tenant)
    flow = asked.flow(supplier, visit.renamed.newest, invited.id if invited else None)
    return begin_flow(visit, flow, f"/proxy/{supplier}/redirect", meter)


@router.get("/{supplier}/redirect")
@router.get(f"/{{supplier}}/redirect{PORTAL_SUFFIX}")
def receive_callback(visit: ConsentVisitDep) -> Response:
    """Receive a person who comes back from the supplier's page.

    The supplier knows only one address of ours, so people who connect a meter to this service itself may come here too.
    """
    return answer_callback(visit, visit.sync.suppliers.main.supplier.name)


def read_authorization_request(visit: Visit, pairs: list[tuple[str, str]]) -> AuthorizationRequest:
    """Return the request for a consent that these parameters make. Raises EarlyAnswer.

    If the client or address is wrong, the person stays here; other errors are reported to the client (RFC 6749,
    4.1.2.1).
    """
    parameters = dict(pairs)
    client = visit.registry.proxy_clients.find(parameters.get("client_id", ""))
    redirect_uri = parameters.get("redirect_uri", "")
    # A repeated parameter is refused, because two programs may read different values.
    if client is None or redirect_uri not in client.redirect_uris or len(parameters) < len(pairs):
        raise EarlyAnswer(render_message(visit.request, "proxy.unknown", 400, ("/", "connect.home")))
    state, challenge = parameters.get("state", ""), parameters.get("code_challenge") or None
    has_state = 0 < len(state) <= LONGEST_STATE
    issuer = f"{visit.settings.public_url}/proxy/{visit.request.path_params['supplier']}" if client.strict else None
    state = state if has_state else ""
    caller = ProxyCaller(client.id, redirect_uri, state, challenge, issuer, client.numbers_in_redirect)
    if fault := _find_fault(client, parameters, has_state=has_state, challenge=challenge):
        error, description = fault
        raise EarlyAnswer(RedirectResponse(caller.address(error=error, error_description=description), 302))
    return AuthorizationRequest(client, caller, parameters.get("usage_point_id"), parameters)


def _find_fault(
    client: ProxyClient, parameters: Mapping[str, str], *, has_state: bool, challenge: str | None
) -> tuple[str, str] | None:
    """Return the error of a request that can't be served, with its description; None if it can be served."""
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


def _find_opened(visit: ConsentVisit, asked: AuthorizationRequest) -> Invitation | None:
    """Return the newest invitation of the client's tenant that was opened in this browser; None if there is none."""
    return visit.registry.invitations.find_opened(visit.names.hashes, asked.client.tenant)


def _open_invitation(visit: ConsentVisit, asked: AuthorizationRequest, secret: str) -> Invitation | None:
    """Bind the invitation with this secret to the browser's new name, and return the invitation.

    Without a secret, return the invitation that the browser opened earlier. None for an unknown invitation, or for
    another tenant's invitation, which stays unchanged.
    """
    if not secret:
        return _find_opened(visit, asked)
    invitation = visit.registry.invitations.find(secret)
    if invitation is None or invitation.tenant != asked.client.tenant:
        return None
    return visit.registry.invitations.open(secret, visit.renamed.newest, visit.names.hashes)


async def read_form(request: Request) -> dict[str, str]:
    """Return the form's fields. A repeated name is refused, because two programs may read different values."""
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


@router.post("/{supplier}/token", name=AuditAction.GRANT_TOKEN)
def issue_token(
    visit: VisitDep,
    form: Annotated[dict[str, str], Depends(read_form)],
    basic: Annotated[HTTPBasicCredentials | None, Depends(_basic)],
) -> Response:
    """Answer the exchange of a code, and each renewal of a token."""
    client = authenticate_client(visit, form, basic)
    note_actor(visit.request, ActorKind.CLIENT, client.id, client.tenant)
    try:
        answer = JSONResponse(_answer(visit.consent.proxy_grants, client, form), headers={"Pragma": "no-cache"})
    except WorkerError as error:
        raise to_refusal(error) from error
    if form.get("grant_type") == "refresh_token":
        leave_out(visit.request)  # Not in the audit trail: clients renew each hour, and gain no access.
    return answer


def authenticate_client(visit: Visit, form: Mapping[str, str], basic: HTTPBasicCredentials | None) -> ProxyClient:
    """Return the client whose id and secret came in a Basic header or in the form (RFC 6749, 2.3.1).

    Raises HttpRefusal 400 if they came in both, 401 if they are wrong, and 429 after too many wrong secrets from an
    address or for a client.
    """
    if basic and form.get("client_secret"):
        raise HttpRefusal(400, "invalid_request", "authenticate the client in the header or in the form, not in both")
    sent = (basic.username, basic.password) if basic else (form.get("client_id", ""), form.get("client_secret", ""))
    client = visit.registry.proxy_clients.authenticate(*sent)
    if client is not None:
        return client
    known = visit.registry.proxy_clients.find(sent[0])  # Made-up ids aren't counted: they would fill Redis.
    waits_s = [visit.count_call(_WRONG_OF_ADDRESS, visit.address)]
    waits_s += [visit.count_call(_WRONG_OF_CLIENT, known.id)] if known else []
    log.warning("proxy client refused", extra=fields(address=visit.address, client=known.id if known else None))
    if wait_s := max(waits_s):
        raise _slow_down("too many wrong secrets", wait_s)
    headers = {"WWW-Authenticate": 'Basic realm="releve"'} if basic else None
    raise HttpRefusal(401, "invalid_client", "client_id or client_secret is wrong", headers)


def _slow_down(message: str, wait_s: float) -> HttpRefusal:
    return HttpRefusal(429, "temporarily_unavailable", f"{message}: try again later", wait_s=wait_s)


def _answer(grants: ProxyGrants, client: ProxyClient, form: Mapping[str, str]) -> TokenAnswer:
    match form.get("grant_type"):
        case "authorization_code":
            code, verifier = _required_field(form, "code"), form.get("code_verifier") or None
            return grants.exchange(client, code, form.get("redirect_uri"), verifier)
        case "refresh_token":
            return grants.refresh(client, _required_field(form, "refresh_token"))
        case None | "":
            raise HttpRefusal(400, "invalid_request", "grant_type is missing")
        case _:
            message = "only authorization_code and refresh_token are supported"
            raise HttpRefusal(400, "unsupported_grant_type", message)


def to_refusal(error: WorkerError) -> HttpRefusal:
    """Return the refusal for an error, with OAuth's codes. The supplier's own text stays in our log."""
    if isinstance(error, InvalidGrant):
        return HttpRefusal(400, "invalid_grant", str(error))
    log.warning("proxy call refused", extra=fields(code=error.code, reason=str(error)))
    if isinstance(error, TransientError):
        wait_s = error.retry_after_s or CLIENT_DELAY_S
        if isinstance(error, RateLimited):
            return _slow_down("the supplier's rate limit is reached", wait_s)
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
    visit: VisitDep, path: str, bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> Response:
    """Return the supplier's answer for the meter of the access token's grant."""
    main = visit.sync.suppliers.main
    if main.account_tokens:
        raise HttpRefusal(404, "not_found", "the token is the supplier's: use it there directly")
    grant = _find_grant(visit, bearer)
    pairs = visit.request.query_params.multi_items()
    try:
        query = read_query(main.endpoints.preset, f"/{path}", dict(pairs))
        if query is not None and len(dict(pairs)) < len(pairs):
            raise ValueError("a parameter is given twice")
    except ValueError as error:
        raise HttpRefusal(400, "invalid_request", str(error)) from None
    if query is None:
        raise HttpRefusal(404, "not_found", "no series of the supplier has this path")
    try:
        return _to_response(visit.consent.proxy_grants.read(grant, query))
    except OtherMeter:
        # The answer is the same for every other meter, whether it is known here or not.
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


def _find_grant(visit: Visit, bearer: HTTPAuthorizationCredentials | None) -> ProxyGrant:
    """Return the grant of the call's token, and count the call. Raises HttpRefusal 401 or 429."""
    grant = visit.consent.proxy_grants.find_grant(bearer.credentials) if bearer else None
    if grant is None:
        if wait_s := visit.count_call(_WRONG_TOKENS, visit.address):
            raise _slow_down("too many wrong tokens", wait_s)
        message = "send an access token as `Authorization: Bearer …`; this one is unknown or has expired"
        raise HttpRefusal(401, "invalid_token", message, _challenge("invalid_token" if bearer else ""))
    if wait_s := visit.count_call(Rate("proxy-grant", visit.settings.api_calls_per_minute), grant.id):
        raise _slow_down("too many calls", wait_s)
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
