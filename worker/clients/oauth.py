"""The supplier's token endpoint, on requests-oauthlib, and the renewal of tokens: a user's, and the application's.

Across all workers one token has one renewal at a time. A renewed token is stored before it is used, because the
refresh token that paid for it is worthless from then on.

Source: RFC 6749; Enedis, guide d'implémentation Data Connect (token v1 and v3). Undocumented answers are those in the
issues of the public clients linky, DomoticzLinky and conso-api.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Generic, Literal, NoReturn, TypeVar

import requests
from oauthlib.oauth2 import BackendApplicationClient, Client, OAuth2Error, WebApplicationClient
from requests_oauthlib import OAuth2Session

from worker.clients.endpoints import TOKEN_API, Endpoints
from worker.clients.supplier_session import Permits, Reply, Transport, as_signed, wait_of
from worker.clients.tokens import RotatingTokenStore, Token, TokenStore
from worker.domain.answers import Json
from worker.domain.retry import retry_after_s
from worker.errors import (
    AnswerNotJson,
    ApplicationRefused,
    OperatorFault,
    RateLimited,
    RefreshAnswerLost,
    RefreshTokenDead,
    RequestRefused,
    StoreUnavailable,
    SupplierFault,
    SupplierLimited,
    TransientError,
    UnusableToken,
)

StoreT = TypeVar("StoreT", bound=TokenStore)
# A token that ends within this time is renewed before a call.
RENEW_AHEAD_S: Final = 300.0
_CONSENT_AGAIN: Final = "this account has no usable token: its holder must consent again"
_ANSWER_LOST: Final = (
    "Enedis used up the refresh token, but its answer with the next one was lost: the holder must consent again"
)
_DEAD_GRANT: Final = "{} refuses the refresh token or code (invalid_grant): the holder must consent again"
_BAD_CREDENTIALS: Final = {"invalid-client", "unauthorized-client", "unauthorized", "900901", "900908"}
# A token goes into a header, which carries no other characters.
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]{1,8192}")
_LONGEST_LIFE_S: Final = 366 * 86_400  # What is longer is no life of a token.


@dataclass(frozen=True, slots=True)
class Grant:
    """The answer to the exchange of a code: its token, and its other fields (usage points, an id_token).

    ``extras`` is personal data. ``digest``: the SHA-256 of the answer's bytes, in hexadecimal.
    """

    token: Token
    extras: Mapping[str, Json] = field(repr=False)
    digest: str = ""


class OAuthClient:
    """The token endpoint, as one application sees it.

    Every method raises RateLimited, SupplierUnavailable, OperatorFault (our credentials are refused), RefreshTokenDead
    (the grant is refused), RequestRefused or MalformedAnswer. No error text contains a token, a secret or a body.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        client_id: str,
        client_secret: str,
        transport: Transport,
        permits: Permits,
    ) -> None:
        self._endpoints = endpoints
        self._client_id = client_id
        self._client_secret = client_secret
        self._transport = transport
        self._permits = permits

    def exchange_code(self, code: str, redirect_uri: str | None = None) -> Grant:
        """Exchange a code, which works once and for 180 s, for the user's tokens; credentials go in the form.

        ``redirect_uri``: the callback's address, where the supplier wants it again.
        """
        client, form = WebApplicationClient(self._client_id), {"code": code, "include_client_id": True}
        answer, digest = self._request_token(client, OAuth2Session.fetch_token, redirect_uri, **form)
        token_fields = {"access_token", "refresh_token", "token_type", "expires_in", "expires_at"}
        extras = {name: value for name, value in answer.items() if name not in token_fields}
        return Grant(self._to_token(answer), extras, digest)

    def refresh(self, refresh_token: str) -> Token:
        """Exchange a refresh token, which works once, for the next pair of tokens (v4).

        If the answer is lost after the supplier took the token, this raises SupplierUnavailable, the next call raises
        RefreshTokenDead, and the consent is lost.
        """
        client = WebApplicationClient(self._client_id)
        form = {"refresh_token": refresh_token, "client_id": self._client_id}
        return self._to_token(self._request_token(client, OAuth2Session.refresh_token, **form)[0])

    def revoke(self, token: str, kind: Literal["refresh_token", "access_token"]) -> None:
        """Revoke a user's token (v4). The supplier answers the same for a token that it does not know.

        Raises ValueError where the supplier has no endpoint for it.
        """
        if self._endpoints.revoke_url is None:
            raise ValueError("this supplier revokes no tokens")
        permit = self._permits.take_permit(TOKEN_API)
        credentials = {"client_id": self._client_id, "client_secret": self._client_secret}
        client = WebApplicationClient(self._client_id)
        with self._transport.token_session(client, partial(self._permits.release_permit, permit)) as session:
            response = session.request(
                "POST",
                as_signed(self._endpoints.revoke_url),
                data={"token": token, "token_type_hint": kind, **credentials},
                timeout=self._transport.timeouts,
                allow_redirects=False,
                withhold_token=True,
            )
        if response.status_code // 100 != 2:
            self._raise_refusal(Reply(response.status_code, response.headers, response.content), permit)

    def application_token(self) -> Token:
        """Fetch the application's token; its credentials are sent as the preset says."""
        preset, client = self._endpoints.preset, BackendApplicationClient(self._client_id)
        form: dict[str, Any] = {"include_client_id": True} if preset.form_credentials else {}
        if preset.scope is not None:
            form["scope"] = preset.scope
        return self._to_token(self._request_token(client, OAuth2Session.fetch_token, **form)[0])

    def _request_token(
        self, client: Client, request: Callable[..., Any], redirect_uri: str | None = None, **form: Any
    ) -> tuple[dict[str, Any], str]:
        """Return the answer's fields and the SHA-256 of its bytes."""
        permit = self._permits.take_permit(TOKEN_API)
        replies: list[Reply] = []
        check = partial(self._check_response, permit, replies)
        with self._transport.token_session(client, partial(self._permits.release_permit, permit)) as session:
            session.redirect_uri = redirect_uri  # Of the client's own address oauthlib sends none with a code.
            session.register_compliance_hook("access_token_response", check)
            session.register_compliance_hook("refresh_token_response", check)
            url, timeouts = as_signed(self._endpoints.token_url), self._transport.timeouts
            try:
                answer: dict[str, Any] = request(
                    session, url, client_secret=self._client_secret, timeout=timeouts, **form
                )
            except (OAuth2Error, ValueError, OverflowError) as error:
                # Some errors of requests are ValueErrors too; the transport turns those into ours.
                if isinstance(error, requests.RequestException):
                    raise
                # "from None": the foreign text quotes the answer.
                raise UnusableToken(f"the token endpoint's answer is unusable ({type(error).__name__})") from None
        return answer, replies[-1].digest

    def _check_response(self, permit: str, replies: list[Reply], response: requests.Response) -> requests.Response:
        """Check an answer before oauthlib parses it: oauthlib loses the status, which decides about the error.

        ``replies`` gets the answer as it came.
        """
        reply = Reply(response.status_code, response.headers, response.content)
        replies.append(reply)
        body = reply.json
        if not (response.ok and isinstance(body, dict) and "access_token" in body):
            self._raise_refusal(reply, permit)
        tokens = [body["access_token"], *([body["refresh_token"]] if body.get("refresh_token") is not None else [])]
        if not all(isinstance(token, str) and _PRINTABLE.fullmatch(token) for token in tokens):
            raise UnusableToken("the token endpoint's answer has an invalid token")
        if str(body.get("token_type") or "bearer").lower() != "bearer":
            raise UnusableToken("the token endpoint's answer has a token of another type than bearer")
        life_s = body.get("expires_in")
        if isinstance(life_s, bool) or (isinstance(life_s, int | float) and not 0 < life_s <= _LONGEST_LIFE_S):
            raise UnusableToken("the token endpoint's answer has a token without a valid lifetime")
        # The scope is not used, and oauthlib raises an error if the supplier left it out, emptied it or widened it.
        response._content = json.dumps({name: value for name, value in body.items() if name != "scope"}).encode()
        return response

    def _raise_refusal(self, reply: Reply, permit: str) -> NoReturn:
        """Raise the error that an answer without a token means."""
        title, code, now = self._endpoints.preset.title, reply.code, datetime.now(UTC)
        if reply.status == 429:
            wait_s = wait_of(reply, now)
            self._permits.close_gate(wait_s, permit)
            raise SupplierLimited(f"{title} token endpoint: quota used up ({code or 429})", wait_s)
        if reply.status >= 500 or (reply.json is None and reply.status != 401):
            unavailable = SupplierFault if reply.status >= 500 else AnswerNotJson
            raise unavailable(
                f"{title} token endpoint: status {reply.status}, {code or 'no token'}",
                retry_after_s(reply.headers, now),
            )
        if code == "invalid-grant":
            raise RefreshTokenDead(_DEAD_GRANT.format(title))
        if reply.status == 401 or code in _BAD_CREDENTIALS:
            raise ApplicationRefused(
                f"{title} refuses the application: check RELEVE_{title.upper()}_CLIENT_ID and its secret"
            )
        if reply.status >= 400 or code:
            raise RequestRefused(f"{title} token endpoint: status {reply.status}, {code or 'no readable code'}")
        raise UnusableToken("the token endpoint's answer has no access token")

    def _to_token(self, answer: Mapping[str, Any]) -> Token:
        life_s = answer.get("expires_in")
        return Token(
            access=answer["access_token"],
            refresh=answer.get("refresh_token"),
            expires_at=None if life_s is None else int(time.time() + life_s),
        )


class _StoredToken(Generic[StoreT]):
    """The base of both strategies; they differ in how a new token is requested."""

    def __init__(self, store: StoreT, oauth: OAuthClient) -> None:
        self._store = store
        self._oauth = oauth

    def current(self) -> Token:
        """Return a token for the next calls.

        Raises TransientError, RefreshTokenDead (a user's token) or OperatorFault (the application's).
        """
        token = self._load()
        if token is not None and not token.ends_within(RENEW_AHEAD_S):
            return token
        try:
            return self.renew(token)
        except StoreUnavailable:
            # The token may have been renewed and not stored, which must never be hidden.
            raise
        except TransientError:
            if token is None or token.ends_within(0):
                raise
            # The renewal was ahead of time, so the present token still works.
            return token

    def renew(self, refused: Token | None) -> Token:
        """Return another token than ``refused``; raises the errors of ``current``."""
        with self._store.renewal_lock():
            stored = self._load()
            is_refused = refused is not None and stored is not None and stored.access == refused.access
            if stored and not is_refused and not stored.ends_within(RENEW_AHEAD_S):
                return stored
            token = self._request_token(stored)
            # Save before use: the refresh token before this one works no more.
            self._store.save(token.to_text(), token.expires_at)
        return token

    def _load(self) -> Token | None:
        text = self._store.load()
        return Token.from_text(text) if text else None

    def _request_token(self, stored: Token | None) -> Token:
        raise NotImplementedError


class UserTokens(_StoredToken[RotatingTokenStore]):
    """A user's token (v4): each refresh token works once and returns the next one.

    If the answer is lost after the supplier took the token, the consent is lost. The next refusal looks like that of
    a withdrawn consent, so the store marks the token as sent before each renewal: with the mark, the answer was lost.
    """

    def _request_token(self, stored: Token | None) -> Token:
        if stored is None or stored.refresh is None:
            raise RefreshTokenDead(_CONSENT_AGAIN)
        was_sent_before = self._store.mark_refresh_sent()
        try:
            return self._oauth.refresh(stored.refresh)
        except RefreshTokenDead:
            newest = self._load()
            # The lock has an expiry: a slow worker may have renewed the token after we took its lock over.
            if newest is not None and newest.refresh != stored.refresh:
                return newest
            if was_sent_before:
                raise RefreshAnswerLost(_ANSWER_LOST) from None
            # A refusal is an answer: a second window that asks meanwhile must not take it for a lost one.
            self._store.clear_refresh_sent()
            raise
        except (RateLimited, OperatorFault, RequestRefused):
            # The supplier refused before it looked at the token, so this request took nothing.
            if not was_sent_before:
                self._store.clear_refresh_sent()
            raise


class ApplicationTokens(_StoredToken[TokenStore]):
    """The application's token (v5, 2026): requested with its credentials, shared by all accounts.

    The last one is kept in memory too. Where another worker has replaced it early, because it was refused, this one
    is refused as well, and then read again.
    """

    _last: Token | None = None

    def current(self) -> Token:
        if self._last is None or self._last.ends_within(RENEW_AHEAD_S):
            self._last = super().current()
        return self._last

    def renew(self, refused: Token | None) -> Token:
        self._last = super().renew(refused)
        return self._last

    def _request_token(self, stored: Token | None) -> Token:
        return self._oauth.application_token()
