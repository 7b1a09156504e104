"""The client of the supplier's token endpoint, built on requests-oauthlib.

Source: RFC 6749; Enedis, guide d'implémentation Data Connect (token v1 and v3). Answers that are not documented are
known from the issues of the public clients linky, DomoticzLinky and conso-api.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal, NoReturn

import requests
from oauthlib.oauth2 import BackendApplicationClient, Client, OAuth2Error, WebApplicationClient
from requests_oauthlib import OAuth2Session

from worker import errors
from worker.clients.endpoints import LONGEST_STATE, TOKEN_API, Endpoints
from worker.clients.supplier_session import Permits, Reply, Token, Transport, as_signed, wait_of
from worker.domain.answers import Json
from worker.domain.retry import retry_after_s

_DEAD_GRANT: Final = "{} refuses the refresh token or code (invalid_grant): the holder must consent again"
_BAD_CREDENTIALS: Final = {"invalid-client", "unauthorized-client", "unauthorized", "900901", "900908"}
# A token is sent in a header, in which no other characters are allowed.
_PRINTABLE: Final = re.compile(r"[\x21-\x7e]{1,8192}")
_LONGEST_LIFE_S: Final = 366 * 86_400  # A longer lifetime is taken for an error of the supplier.


def consent_page(
    endpoints: Endpoints,
    client_id: str,
    state: str,
    redirect_uri: str | None = None,
    scope: str | None = None,
    **parameters: str,
) -> str:
    """Return the address of the consent page, with client id, response type, ``state`` and the other parameters.

    Raises ValueError if the supplier has no consent page or the state is too long.
    """
    page = endpoints.authorize_url
    if page is None:
        raise ValueError(
            f"{endpoints.preset.name}: this sandbox has no consent page, because its customers have already consented"
        )
    if len(state) > LONGEST_STATE:
        raise ValueError(f"the state is longer than {LONGEST_STATE} characters")
    with OAuth2Session(client_id, redirect_uri=redirect_uri, scope=scope) as session:
        url, _ = session.authorization_url(as_signed(page), state=state, **parameters)
    return page + url.removeprefix(as_signed(page))


@dataclass(frozen=True, slots=True)
class Grant:
    """A successful answer of the token endpoint: its token, and its other fields (usage points, an ``id_token``).

    ``extras``, the other fields, is personal data. ``digest``: the SHA-256 of the answer's bytes, in hexadecimal.
    """

    token: Token
    extras: Mapping[str, Json] = field(repr=False)
    digest: str = ""


@dataclass(frozen=True)
class OAuthClient:
    """The client of the token endpoint, with the credentials of one application.

    Every method raises RateLimited, SupplierUnavailable, OperatorFault (our credentials are refused), RefreshTokenDead
    (the grant is refused), RequestRefused or MalformedAnswer. No error text contains a token, a secret or a body.
    """

    endpoints: Endpoints
    client_id: str
    client_secret: str = field(repr=False)
    transport: Transport
    permits: Permits

    def exchange_code(self, code: str, redirect_uri: str | None = None) -> Grant:
        """Exchange a code for the user's tokens; the credentials are sent in the form.

        A code works only once and expires after 180 s. ``redirect_uri``: the callback's address, if the supplier
        requires it again.
        """
        client, form = WebApplicationClient(self.client_id), {"code": code, "include_client_id": True}
        return self._to_grant(*self._request_token(client, OAuth2Session.fetch_token, redirect_uri, **form))

    def refresh(self, refresh_token: str) -> Grant:
        """Exchange a refresh token for the next pair of tokens (v4). A refresh token works only once.

        If the answer is lost after the supplier has used up the refresh token, this raises SupplierUnavailable, the
        next call raises RefreshTokenDead, and the consent is lost.
        """
        client = WebApplicationClient(self.client_id)
        form = {"refresh_token": refresh_token, "client_id": self.client_id}
        return self._to_grant(*self._request_token(client, OAuth2Session.refresh_token, **form))

    def _to_grant(self, answer: Mapping[str, Json], digest: str) -> Grant:
        token_fields = {"access_token", "refresh_token", "token_type", "expires_in", "expires_at"}
        extras = {name: value for name, value in answer.items() if name not in token_fields}
        return Grant(self._to_token(answer), extras, digest)

    def revoke(self, token: str, kind: Literal["refresh_token", "access_token"]) -> None:
        """Revoke a user's token (v4). The supplier's answer is the same for a token that it doesn't know.

        Raises ValueError if the supplier has no endpoint for revocation.
        """
        if self.endpoints.revoke_url is None:
            raise ValueError("this supplier revokes no tokens")
        permit = self.permits.take_permit(TOKEN_API)
        credentials = {"client_id": self.client_id, "client_secret": self.client_secret}
        client = WebApplicationClient(self.client_id)
        with self.transport.token_session(client, partial(self.permits.release_permit, permit)) as session:
            response = session.request(
                "POST",
                as_signed(self.endpoints.revoke_url),
                data={"token": token, "token_type_hint": kind, **credentials},
                timeout=self.transport.timeouts,
                allow_redirects=False,
                withhold_token=True,
            )
        if response.status_code // 100 != 2:
            self._raise_refusal(Reply(response.status_code, response.headers, response.content), permit)

    def application_token(self) -> Token:
        """Request the application's token. The preset says how the application's credentials are sent."""
        preset, client = self.endpoints.preset, BackendApplicationClient(self.client_id)
        form: dict[str, Any] = {"include_client_id": True} if preset.form_credentials else {}
        if preset.scope is not None:
            form["scope"] = preset.scope
        return self._to_token(self._request_token(client, OAuth2Session.fetch_token, **form)[0])

    def _request_token(
        self, client: Client, request: Callable[..., Any], redirect_uri: str | None = None, **form: Any
    ) -> tuple[dict[str, Any], str]:
        """Return the fields of the token endpoint's answer, and the SHA-256 of the answer's bytes."""
        permit = self.permits.take_permit(TOKEN_API)
        replies: list[Reply] = []
        check = partial(self._check_response, permit, replies)
        with self.transport.token_session(client, partial(self.permits.release_permit, permit)) as session:
            session.redirect_uri = redirect_uri  # oauthlib sends this address together with a code.
            session.register_compliance_hook("access_token_response", check)
            session.register_compliance_hook("refresh_token_response", check)
            url, timeouts = as_signed(self.endpoints.token_url), self.transport.timeouts
            try:
                answer: dict[str, Any] = request(
                    session, url, client_secret=self.client_secret, timeout=timeouts, **form
                )
            except (OAuth2Error, ValueError, OverflowError) as error:
                # A RequestException can also be a ValueError. It is raised on: the transport turns it into our error.
                if isinstance(error, requests.RequestException):
                    raise
                # "from None", because the text of the library's error quotes the answer.
                raise errors.UnusableToken(
                    f"the token endpoint's answer is unusable ({type(error).__name__})"
                ) from None
        return answer, replies[-1].digest

    def _check_response(self, permit: str, replies: list[Reply], response: requests.Response) -> requests.Response:
        """Check an answer before oauthlib parses it: oauthlib drops the status, which we need to choose an error.

        The unchanged answer is added to ``replies``.
        """
        reply = Reply(response.status_code, response.headers, response.content)
        replies.append(reply)
        body = reply.json
        if not (response.ok and isinstance(body, dict) and "access_token" in body):
            self._raise_refusal(reply, permit)
        tokens = [body["access_token"], *([body["refresh_token"]] if body.get("refresh_token") is not None else [])]
        if not all(isinstance(token, str) and _PRINTABLE.fullmatch(token) for token in tokens):
            raise errors.UnusableToken("the token endpoint's answer has an invalid token")
        if str(body.get("token_type") or "bearer").lower() != "bearer":
            raise errors.UnusableToken("the token endpoint's answer has a token of another type than bearer")
        life_s = body.get("expires_in")
        if isinstance(life_s, bool) or (isinstance(life_s, int | float) and not 0 < life_s <= _LONGEST_LIFE_S):
            raise errors.UnusableToken("the token endpoint's answer has a token without a valid lifetime")
        # The scope is removed, because we don't use it, and oauthlib fails if it isn't a text.
        response._content = json.dumps({name: value for name, value in body.items() if name != "scope"}).encode()
        return response

    def _raise_refusal(self, reply: Reply, permit: str) -> NoReturn:
        """Raise the error that an answer without a token stands for; after a 429, also stop all calls for a while."""
        title, code, now = self.endpoints.preset.title, reply.code, datetime.now(UTC)
        if reply.status == 429:
            wait_s = wait_of(reply, now)
            self.permits.close_gate(wait_s, permit)
            raise errors.SupplierLimited(f"{title} token endpoint: quota used up ({code or 429})", wait_s)
        if reply.status >= 500 or (reply.json is None and reply.status != 401):
            unavailable = errors.SupplierFault if reply.status >= 500 else errors.AnswerNotJson
            raise unavailable(
                f"{title} token endpoint: status {reply.status}, {code or 'no token'}",
                retry_after_s(reply.headers, now),
            )
        if code == "invalid-grant":
            raise errors.RefreshTokenDead(_DEAD_GRANT.format(title))
        if reply.status == 401 or code in _BAD_CREDENTIALS:
            raise errors.ApplicationRefused(
                f"{title} refuses the application: check RELEVE_{title.upper()}_CLIENT_ID and its secret"
            )
        if reply.status >= 400 or code:
            raise errors.RequestRefused(f"{title} token endpoint: status {reply.status}, {code or 'no readable code'}")
        raise errors.UnusableToken("the token endpoint's answer has no access token")

    def _to_token(self, answer: Mapping[str, Any]) -> Token:
        life_s = answer.get("expires_in")
        return Token(
            access=answer["access_token"],
            refresh=answer.get("refresh_token"),
            expires_at=None if life_s is None else int(time.time() + life_s),
        )
