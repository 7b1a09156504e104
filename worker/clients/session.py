"""A session with the supplier: a permit for each request, one token renewal, and refusals raised as our errors.

Callers never see a status code, and no request is sent without a permit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from worker.clients.enedis.errors import Reply, token_refused
from worker.clients.enedis.presets import Endpoints
from worker.clients.tokens import Token, TokenProvider
from worker.clients.transport import Transport
from worker.domain.fleet.lanes import current_lane
from worker.domain.measures.answers import Answer, Json
from worker.errors import LoginFailed, OperatorFault, RateLimited, WorkerError
from worker.metrics import ANSWERS, OTHER, TOKEN_REFUSED, error_kind


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
        return self._request("POST", path, interpret, json=body)

    def _request(self, method: str, path: str, interpret: Callable[[Reply], ResultT], **content: Any) -> ResultT:
        preset, url, permit = self._endpoints.preset, self._endpoints.base_url + path, ""
        mode = preset.token_mode

        def send(token: Token) -> Reply | None:
            """Return the reply, or None for one that refuses the token."""
            nonlocal permit
            permit = self._permits.take_permit(preset.quota_name(path))
            release = partial(self._permits.release_permit, permit)
            reply = self._transport.send(method, url, token, on_unsent=release, **content)
            if not token_refused(reply, mode):
                return reply
            ANSWERS.labels(TOKEN_REFUSED, current_lane()).inc()
            return None

        token = self._tokens.current()
        reply = send(token) or send(self._tokens.renew(token))
        if reply is None:
            raise LoginFailed(_LOGIN_FAILED) if mode == "user" else OperatorFault(_APPLICATION_REFUSED)
        try:
            return _interpret_and_count(interpret, reply)
        except RateLimited as error:
            self._permits.close_gate(error.retry_after_s or 0.0, permit)
            raise


def _interpret_and_count(interpret: Callable[[Reply], ResultT], reply: Reply) -> ResultT:
    """Return what ``interpret`` makes of the reply, and count it by its kind; errors are counted and raised."""
    try:
        result = interpret(reply)
    except WorkerError as error:
        ANSWERS.labels(error_kind(error), current_lane()).inc()
        raise
    ANSWERS.labels(result.kind if isinstance(result, Answer) else OTHER, current_lane()).inc()
    return result
