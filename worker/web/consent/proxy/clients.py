"""Who asks: the client in a request for a consent, and the client that authenticates at the token endpoint."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from fastapi.security import HTTPBasicCredentials

from worker.domain.oauth_proxy import CHALLENGE_METHOD, LONGEST_STATE, ProxyCaller, ProxyClient, is_code_challenge
from worker.logs import fields
from worker.runtime.sync_parts import Runtime
from worker.stores.redis.locks import Rate, RateLimiter
from worker.stores.redis.pending_consents import ConsentFlow
from worker.web.addresses import client_address
from worker.web.errors import HttpRefusal
from worker.web.render import render_message

log = logging.getLogger("releve.proxy")
# A secret of 256 bits can't be guessed, and the right one is always heard. These bounds make tries visible and cheap.
_WRONG_OF_ADDRESS = Rate("proxy-address", calls=10, window_s=300)
_WRONG_OF_CLIENT = Rate("proxy-client", calls=50, window_s=300)


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


def read_authorization_request(
    request: Request, runtime: Runtime, pairs: list[tuple[str, str]]
) -> AuthorizationRequest | Response:
    """Return the request for a consent in these parameters, or the answer that refuses it.

    Where client or address are wrong, the person stays here; for the rest the client hears of it (RFC 6749, 4.1.2.1).
    """
    parameters = dict(pairs)
    client = runtime.proxy_clients.find(parameters.get("client_id", ""))
    redirect_uri = parameters.get("redirect_uri", "")
    # A parameter that is named twice may mean its other value to another reader.
    if client is None or redirect_uri not in client.redirect_uris or len(parameters) < len(pairs):
        return render_message(request, "proxy.unknown", 400, ("/", "connect.home"))
    state, challenge = parameters.get("state", ""), parameters.get("code_challenge") or None
    has_state = 0 < len(state) <= LONGEST_STATE
    caller = ProxyCaller(client.id, redirect_uri, state if has_state else "", challenge)
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


def authenticate_client(
    request: Request, runtime: Runtime, form: Mapping[str, str], basic: HTTPBasicCredentials | None
) -> ProxyClient:
    """Return the client whose id and secret came in a Basic header or in the form (RFC 6749, 2.3.1).

    Raises HttpRefusal 401, or 429 after too many wrong ones of an address or a client.
    """
    sent = (basic.username, basic.password) if basic else (form.get("client_id", ""), form.get("client_secret", ""))
    client = runtime.proxy_clients.authenticate(*sent)
    if client is not None:
        return client
    limiter, address = RateLimiter(runtime.redis), client_address(request)
    known = runtime.proxy_clients.find(sent[0])  # Made-up ids would fill Redis.
    waits_s = [limiter.count_call(_WRONG_OF_ADDRESS, address)]
    waits_s += [limiter.count_call(_WRONG_OF_CLIENT, known.id)] if known else []
    log.warning("proxy client refused", extra=fields(address=address, client=known.id if known else None))
    if wait_s := max(waits_s):
        raise HttpRefusal(429, "temporarily_unavailable", "too many wrong secrets: try again later", wait_s=wait_s)
    headers = {"WWW-Authenticate": 'Basic realm="releve"'} if basic else None
    raise HttpRefusal(401, "invalid_client", "client_id or client_secret is wrong", headers)
