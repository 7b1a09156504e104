"""A session with the supplier: a permit for each request, one token renewal, and refusals raised as our errors.

Callers never see a status code, and no request is sent without a permit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol, TypeVar

from worker.clients.enedis.errors import Reply, token_refused
from worker.clients.enedis.presets import Endpoints
from worker.clients.tokens import Token, TokenProvider
from worker.clients.transport import Transport, count_refused_token, interpret_and_count
from worker.domain.measures.answers import Json
from worker.errors import LoginFailed, OperatorFault, RateLimited


class Permits(Protocol):
    """The quota of the application, shared by all workers; QuotaLedger implements it."""

    def take_permit(self, api: str) -> str:
        """Take a permit for one request of ``api``, after a short wait at most, and return its text.

        Raises RateLimited, with the longer wait, if there is none.
        """

    def release_permit(self, permit: str) -> None:
        """Undo a permit whose request was never sent, so that the supplier can't have counted it."""

    def close_gate(self, retry_after_s: float, permit: str) -> None:
        """Stop all requests for a while: the supplier refused the one with this permit for the quota."""


ResultT = TypeVar("ResultT")
_LOGIN_FAILED: Final = "Enedis refused the token again right after its renewal: the owner must consent again"
_APPLICATION_REFUSED: Final = "Enedis refuses the application's fresh token: check its credentials and subscriptions"


class SupplierSession:
    """Signed requests of one account (v4) or of the whole application (v5, 2026).

    It is cheap to create: the connections belong to ``transport``, which all sessions share.
    """

    def __init__(self, endpoints: Endpoints, transport: Transport, tokens: TokenProvider, permits: Permits) -> None:
        self._endpoints = endpoints
        self._transport = transport
        self._tokens = tokens
        self._permits = permits

    def get(self, path: str, params: Mapping[str, str], interpret: Callable[[Reply], ResultT]) -> ResultT:
        """Send a GET and return what ``interpret`` makes of its reply.

        Raises RateLimited, SupplierUnavailable, LoginFailed (a user's token), OperatorFault (the application's
        token), and the errors of ``interpret``. If that raises RateLimited, the gate is closed for all workers first.
        """
        # A GET has no Content-Type: with one, the API of 2026 answered 500.
        return self._request("GET", path, interpret, params=params)

    def post(self, path: str, body: Json, interpret: Callable[[Reply], ResultT]) -> ResultT:
        """Send a POST with a JSON body; otherwise as ``get``."""
        return self._request("POST", path, interpret, body=body)

    def _request(
        self,
        method: str,
        path: str,
        interpret: Callable[[Reply], ResultT],
        params: Mapping[str, str] | None = None,
        body: Json = None,
    ) -> ResultT:
        api, url, permit = self._endpoints.preset.quota_name(path), self._endpoints.base_url + path, ""

        def send(token: Token) -> Reply:
            nonlocal permit
            permit = self._permits.take_permit(api)
            release = partial(self._permits.release_permit, permit)
            return self._transport.send(method, url, token, params=params, json=body, on_unsent=release)

        reply = self._send_with_renewal(send)
        try:
            return interpret_and_count(interpret, reply)
        except RateLimited as error:
            self._permits.close_gate(error.retry_after_s or 0.0, permit)
            raise

    def _send_with_renewal(self, send: Callable[[Token], Reply]) -> Reply:
        """Send; if the token is refused, renew it and send once more."""
        mode = self._endpoints.preset.token_mode
        token = self._tokens.current()
        reply = send(token)
        if not token_refused(reply, mode):
            return reply
        count_refused_token()
        reply = send(self._tokens.renew(token))
        if token_refused(reply, mode):
            count_refused_token()
            raise LoginFailed(_LOGIN_FAILED) if mode == "user" else OperatorFault(_APPLICATION_REFUSED)
        return reply
