"""Tokens and their renewal: users' rotating tokens, the application's token, and gateway tokens (never renewed).

Of all workers, only one at a time renews a token. The renewed token is stored before it is used, because the old
refresh token no longer works.

An ``id_token`` names meters in its claims:

    GRDF   {"consentements": "[{"pce": "01234567890123", "id_accreditation": "…"}]"}, a text that holds JSON
    Enedis {"usage_point_id": "98765432109876"}

GRDF sends an ``id_token``. No answer from Enedis with an ``id_token`` is known. But the original konnector, whose form
of documents Relève uses, has Enedis' claims in its documentation, so Relève reads these claims, too. Source: OpenID
Connect Core 1.0; the code of aeneria-app (ConsentementDetail.php).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Final, Generic, Protocol, TypeVar

import jwt
from jwt.types import Options

from worker import errors
from worker.clients.oauth import OAuthClient
from worker.clients.supplier_session import REFUSED_FOR_GOOD, Token
from worker.domain.answers import Json

# A token that expires within this time is renewed before a call.
RENEW_AHEAD_S: Final = 300.0
_ANSWER_LOST: Final = (
    "Enedis used up the refresh token, but its answer with the next one was lost: the holder must consent again"
)
_TOKEN_ENDED: Final = "the gateway's token has expired: make a new one on its page, then run `releve home add`"  # noqa: S105
_METER: Final = re.compile(r"[0-9]{14}|GI[0-9]{6}")
_METER_CLAIMS: Final = ("usage_point_id", "usage_points_id", "pce_id", "pce", "id_pce")
_CONSENT_CLAIMS: Final = ("consentements", "consents")


class TokenStore(Protocol):
    """A store of one token as an encrypted text: the registry for an account's token, Redis for the application's.

    ``expires_at``: when the token expires, in seconds since 1970.
    """

    def load(self) -> str | None: ...

    def save(self, token: str, expires_at: int | None) -> None: ...

    def renewal_lock(self) -> AbstractContextManager[None]:
        """Hold the lock on this token's renewal during the block; of all workers, only one at a time holds it.

        Raises TransientError if another worker holds the lock for too long.
        """


class RotatingTokenStore(TokenStore, Protocol):
    """A token store with a mark, which says that the refresh token was sent and no answer has been read yet.

    The two methods below may be called only inside ``renewal_lock``. ``save`` clears the mark, too.
    """

    def mark_refresh_sent(self) -> bool:
        """Set the mark before the refresh token is sent; return whether the mark was set already."""

    def clear_refresh_sent(self) -> None:
        """Clear the mark; to be called if no answer with new tokens can have been lost."""


StoreT = TypeVar("StoreT", bound=TokenStore)


class _StoredToken(Generic[StoreT]):
    """The base class for users' tokens and the application's token, which differ in how a new token is requested."""

    def __init__(self, store: StoreT, oauth: OAuthClient) -> None:
        self._store = store
        self._oauth = oauth

    def current(self) -> Token:
        """Return a token for the next calls.

        Raises TransientError, RefreshTokenDead (for a user's token) or OperatorFault (for the application's token).
        """
        token = self._load()
        if token is not None and not token.ends_within(RENEW_AHEAD_S):
            return token
        try:
            return self.renew(token)
        except errors.StoreUnavailable:
            # The token may have been renewed but not stored, so this error must not be hidden.
            raise
        except errors.TransientError:
            if token is None or token.ends_within(0):
                raise
            # The current token has not expired yet, so it still works.
            return token

    def renew(self, refused: Token | None) -> Token:
        """Return a token other than ``refused``. Raises the errors of ``current``."""
        with self._store.renewal_lock():
            stored = self._load()
            is_refused = refused is not None and stored is not None and stored.access == refused.access
            if stored and not is_refused and not stored.ends_within(RENEW_AHEAD_S):
                return stored
            token = self._request_token(stored)
            # The token is saved before its use, because the previous refresh token no longer works.
            self._store.save(token.to_text(), token.expires_at)
        return token

    def _load(self) -> Token | None:
        text = self._store.load()
        return Token.from_text(text) if text else None

    def _request_token(self, stored: Token | None) -> Token:
        raise NotImplementedError


class UserTokens(_StoredToken[RotatingTokenStore]):
    """A user's token (v4). A refresh token works once; exchanging it returns the next pair of tokens.

    If the answer is lost after the supplier has used up the refresh token, the consent is lost, and the next refusal
    looks like that of a withdrawn consent. So the store sets a mark before each renewal. If the supplier refuses the
    refresh token while the mark is still set from an earlier renewal, the answer to that renewal was lost.
    """

    def _request_token(self, stored: Token | None) -> Token:
        if stored is None or stored.refresh is None:
            raise errors.RefreshTokenDead("this account has no usable token: its holder must consent again")
        was_sent_before = self._store.mark_refresh_sent()
        try:
            return self._oauth.refresh(stored.refresh).token
        except errors.RefreshTokenDead:
            newest = self._load()
            # A slow worker whose lock expired may have renewed the token after we took the lock. Its token is used.
            if newest is not None and newest.refresh != stored.refresh:
                return newest
            if was_sent_before:
                raise errors.RefreshAnswerLost(_ANSWER_LOST) from None
            # A refusal is an answer, so the next attempt must not conclude that an answer was lost.
            self._store.clear_refresh_sent()
            raise
        except (errors.RateLimited, errors.OperatorFault, errors.RequestRefused):
            # The supplier refused before it looked at the refresh token, so this request hasn't used up the token.
            if not was_sent_before:
                self._store.clear_refresh_sent()
            raise


class ApplicationTokens(_StoredToken[TokenStore]):
    """The application's token (v5, 2026), which is requested with our credentials and shared by all accounts.

    A copy of the last token is kept in memory. Another worker may replace the token in the store before it expires,
    because the supplier has refused it. The supplier then also refuses the copy, and ``renew`` returns the new token
    from the store.
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


class BearerTokens:
    """An account's token for a gateway: created on the gateway's page, entered by hand, and never renewed."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store

    def current(self) -> Token:
        """Return the token for the next calls. Raises TokenNeeded if there is none, or if it has expired."""
        text = self._store.load()
        if not text:
            raise errors.TokenNeeded("this account has no gateway token: add one with `releve home add`")
        token = Token.from_text(text)
        if token.ends_within(0):
            raise errors.TokenNeeded(_TOKEN_ENDED)
        return token

    def renew(self, refused: Token | None) -> Token:
        """Return the token that has replaced ``refused`` meanwhile. Raises TokenRefused if none has replaced it."""
        token = self.current()
        if refused is None or token.access != refused.access:
            return token
        raise errors.TokenRefused(REFUSED_FOR_GOOD)


def usage_points_from_id_token(id_token: str, client_id: str, now: datetime) -> list[str]:
    """Return the usage points that the claims of an ``id_token`` name, in their order and without duplicates.

    The token must be issued for our application (``aud``) and must not have expired (``exp``) at ``now``, which may be
    simulated. The signature isn't checked, because a token that comes from the token endpoint over TLS needs no such
    check (OpenID Connect Core 1.0, 3.1.3.7), and only the supplier has the key. Raises MalformedAnswer if the text
    isn't such a token.
    """
    options: Options = {
        "verify_signature": False,
        "verify_aud": True,
        "verify_exp": False,  # The library can compare only with the real time.
        "require": ["iss", "aud", "exp"],
    }
    try:
        claims = jwt.decode(id_token, options=options, audience=client_id)
        is_current = float(claims["exp"]) > now.timestamp()
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError, RecursionError):
        # "from None", because the text of the library's error may quote the token.
        raise errors.UnusableToken("the id_token can't be decoded") from None
    if not is_current:
        raise errors.UnusableToken("the id_token has expired: check this machine's clock")
    return list(dict.fromkeys(meter for meter in _claimed_meters(claims) if _METER.fullmatch(meter)))


def _claimed_meters(claims: dict[str, Json]) -> Iterator[str]:
    for name in _METER_CLAIMS:
        yield from split_meters(claims.get(name))
    for name in _CONSENT_CLAIMS:
        for consent in _as_list(claims.get(name)):
            if isinstance(consent, dict):
                yield from (meter for key in _METER_CLAIMS for meter in split_meters(consent.get(key)))


def split_meters(value: Json) -> list[str]:
    """Return the parts of a text, or of each text in a list, separated by ``,`` or ``;``."""
    texts = value if isinstance(value, list) else [value]
    return [word.strip() for text in texts if isinstance(text, str) for word in re.split("[,;]", text)]


def _as_list(value: Json) -> list[Json]:
    """Return the value as a list. A text is parsed as JSON first, because GRDF sends its consents as such a text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []
