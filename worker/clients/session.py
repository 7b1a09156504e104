"""The OAuth session: permits, one renewal, a refusal turned into one of our errors.

Nobody above sees a status code, and no request leaves without its permit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final, Protocol, TypeVar

from worker.clients.enedis.errors import Reply, token_refused
from worker.clients.enedis.presets import Endpoints
from worker.clients.tokens import Token, TokenProvider
from worker.clients.transport import Transport, count_refused_token, judge_and_count
from worker.domain.measures.answers import Json
from worker.errors import LoginFailed, OperatorFault, RateLimited


class Permits(Protocol):
    """The fleet's quota, seen by one client; the ledger behind it lives with the stores."""

    def enter(self, api: str) -> str:
        """Take a permit to send one request of ``api``, after a short wait at most; what it is called.

        Raises RateLimited, with the longer wait, where none comes.
        """

    def give_back(self, permit: str) -> None:
        """The request never left, so the supplier can't have counted it."""

    def close(self, retry_after_s: float, permit: str) -> None:
        """Shut the way for everybody: the supplier said of the request with this permit that the quota is used up."""


Judged = TypeVar("Judged")
_LOGIN_FAILED: Final = "Enedis refused the token again right after its renewal: the owner must consent again"
_APPLICATION_REFUSED: Final = "Enedis refuses the application's fresh token: check its credentials and subscriptions"


class SupplierSession:
    """Signed requests of one account (v4) or of the whole application (v5, 2026).

    Cheap to make: the connections belong to ``transport``, which all sessions share.
    """

    def __init__(self, endpoints: Endpoints, transport: Transport, tokens: TokenProvider, turnstile: Permits) -> None:
        self._endpoints = endpoints
        self._transport = transport
        self._tokens = tokens
        self._turnstile = turnstile

    def get(self, path: str, params: Mapping[str, str], judge: Callable[[Reply], Judged]) -> Judged:
        """What ``judge`` says of the answer to a GET; without Content-Type, for one there gave 500 (1.12).

        Raises RateLimited, SupplierUnavailable, LoginFailed (a user's token), OperatorFault (the
        application's), and what ``judge`` raises; its RateLimited closes the turnstile for everybody first.
        """
        return self._ask("GET", path, judge, params=params)

    def post(self, path: str, body: Json, judge: Callable[[Reply], Judged]) -> Judged:
        """As ``get``, with a JSON body."""
        return self._ask("POST", path, judge, body=body)

    def _ask(
        self,
        method: str,
        path: str,
        judge: Callable[[Reply], Judged],
        params: Mapping[str, str] | None = None,
        body: Json = None,
    ) -> Judged:
        api, url, permit = self._endpoints.preset.api(path), self._endpoints.base_url + path, ""

        def send(token: Token) -> Reply:
            nonlocal permit
            permit = self._turnstile.enter(api)
            unsent = partial(self._turnstile.give_back, permit)
            return self._transport.send(method, url, token, params=params, json=body, on_unsent=unsent)

        reply = self._signed(send)
        try:
            return judge_and_count(judge, reply)
        except RateLimited as error:
            self._turnstile.close(error.retry_after_s or 0.0, permit)
            raise

    def _signed(self, send: Callable[[Token], Reply]) -> Reply:
        """Send; where the token is refused renew it once and send once more."""
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
