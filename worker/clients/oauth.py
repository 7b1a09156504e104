"""The supplier's token endpoint and consent page, through requests-oauthlib.

Source: upstream-apis, 1.3, 1.4 and part 3.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, NoReturn

import requests
from oauthlib.oauth2 import BackendApplicationClient, Client, OAuth2Error, WebApplicationClient
from requests_oauthlib import OAuth2Session

from worker.clients.enedis.errors import Reply, code_of, wait_of
from worker.clients.enedis.presets import TOKEN_API, Endpoints
from worker.clients.retry_after import retry_after_s
from worker.clients.session import Permits
from worker.clients.tokens import Token
from worker.clients.transport import Transport, as_signed
from worker.domain.measures.answers import Json
from worker.errors import (
    MalformedAnswer,
    OperatorFault,
    RateLimited,
    RefreshTokenDead,
    RequestRefused,
    SupplierUnavailable,
)

_DEAD_GRANT: Final = "Enedis refuses the refresh token or code (invalid_grant): the owner must consent again"
_BAD_CREDENTIALS: Final = {"invalid-client", "unauthorized-client", "unauthorized", "900901", "900908"}
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]+")  # what a header can carry


@dataclass(frozen=True, slots=True)
class Grant:
    """What the exchange of a code brought; ``extras``: the answer less its tokens (usage points, an id_token)."""

    token: Token
    extras: Mapping[str, Json] = field(repr=False)  # personal data


class OAuthClient:
    """One application at one supplier's token endpoint; a TokenSource.

    Every method raises RateLimited, SupplierUnavailable, OperatorFault (our credentials), RefreshTokenDead (a
    dead grant), RequestRefused or MalformedAnswer.  No token, secret or body is in any text.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        client_id: str,
        client_secret: str,
        transport: Transport,
        turnstile: Permits,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._endpoints = endpoints
        self._client_id = client_id
        self._client_secret = client_secret
        self._transport = transport
        self._turnstile = turnstile
        self._clock = clock

    def exchange_code(self, code: str, redirect_uri: str | None = None) -> Grant:
        """The user's tokens for a code, which works once and for 180 s; credentials go in the form (v4)."""

        def ask(session: OAuth2Session) -> Any:
            session.redirect_uri = redirect_uri
            return session.fetch_token(
                as_signed(self._endpoints.token_url),
                code=code,
                include_client_id=True,
                client_secret=self._client_secret,
                timeout=self._transport.timeouts,
            )

        answer = self._ask(WebApplicationClient(self._client_id), ask)
        hidden = {"access_token", "refresh_token", "token_type", "expires_in", "expires_at"}
        return Grant(self._to_token(answer), {name: value for name, value in answer.items() if name not in hidden})

    def refresh(self, refresh_token: str) -> Token:
        """The next pair of tokens; ``refresh_token`` is dead from the moment the supplier takes it (v4).

        Where the answer is lost, so may be the consent: SupplierUnavailable first, RefreshTokenDead on the
        next try.
        """

        def ask(session: OAuth2Session) -> Any:
            return session.refresh_token(
                as_signed(self._endpoints.token_url),
                refresh_token=refresh_token,
                client_id=self._client_id,
                client_secret=self._client_secret,
                timeout=self._transport.timeouts,
            )

        return self._to_token(self._ask(WebApplicationClient(self._client_id), ask))

    def application_token(self) -> Token:
        """The application's token for its credentials, sent as a Basic header (v5, 2026)."""

        def ask(session: OAuth2Session) -> Any:
            return session.fetch_token(
                as_signed(self._endpoints.token_url),
                client_secret=self._client_secret,
                timeout=self._transport.timeouts,
            )

        return self._to_token(self._ask(BackendApplicationClient(self._client_id), ask))

    def _ask(self, client: Client, ask: Callable[[OAuth2Session], Any]) -> dict[str, Any]:
        permit = self._turnstile.enter(TOKEN_API)
        look = partial(self._status_first, permit)
        with self._transport.token_session(client, partial(self._turnstile.give_back, permit)) as session:
            session.register_compliance_hook("access_token_response", look)
            session.register_compliance_hook("refresh_token_response", look)
            try:
                answer: dict[str, Any] = ask(session)
            except (OAuth2Error, ValueError, OverflowError) as error:
                if isinstance(error, requests.RequestException):
                    raise  # some are ValueErrors too; the transport turns them
                # "from None": the foreign text quotes the answer.
                raise MalformedAnswer(f"the token endpoint's answer is unusable ({type(error).__name__})") from None
        return answer

    def _status_first(self, permit: str, response: requests.Response) -> requests.Response:
        """Look before oauthlib parses: it loses the status, and with it what to do ("later", "consent again")."""
        reply = Reply(response.status_code, response.headers, response.content)
        body = reply.json
        if not (response.ok and isinstance(body, dict) and "access_token" in body):
            self._refuse(reply, permit)
        tokens = [body["access_token"], *([body["refresh_token"]] if body.get("refresh_token") is not None else [])]
        if not all(isinstance(token, str) and _PRINTABLE.fullmatch(token) for token in tokens):
            raise MalformedAnswer("the token endpoint's answer holds a token that is none")
        # Suppliers leave the scope out, empty it or widen it; oauthlib would stumble, and nobody here reads it.
        response._content = json.dumps({name: value for name, value in body.items() if name != "scope"}).encode()
        return response

    def _refuse(self, reply: Reply, permit: str) -> NoReturn:
        """Turn an answer without token into one of our errors."""
        code, now_s = code_of(reply), self._clock()
        if reply.status == 429:
            wait_s = wait_of(reply, _utc(now_s))
            self._turnstile.close(wait_s, permit)
            raise RateLimited(f"Enedis token endpoint: quota used up ({code or 429})", wait_s)
        if reply.status >= 500 or (reply.json is None and reply.status != 401):
            raise SupplierUnavailable(
                f"Enedis token endpoint: status {reply.status}, {code or 'no token'}",
                retry_after_s(reply.headers, _utc(now_s)),
            )
        if code == "invalid-grant":
            raise RefreshTokenDead(_DEAD_GRANT)
        if reply.status == 401 or code in _BAD_CREDENTIALS:
            raise OperatorFault("Enedis refuses the application: check RELEVE_ENEDIS_CLIENT_ID and its secret")
        if reply.status >= 400 or code:
            raise RequestRefused(f"Enedis token endpoint: status {reply.status}, {code or 'no readable code'}")
        raise MalformedAnswer("the token endpoint's answer holds no access token")

    def _to_token(self, answer: Mapping[str, Any]) -> Token:
        life_s = answer.get("expires_in")
        return Token(
            access=answer["access_token"],
            refresh=answer.get("refresh_token"),
            expires_at=None if life_s is None else int(self._clock() + life_s),
        )


def _utc(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
