"""Tokens and their renewal: a user's rotating refresh token, the application's token, or a gateway's, never renewed.

Across all workers one token has one renewal at a time. A renewed token is stored before it is used, because the old
refresh token no longer works.

An ``id_token`` names meters in its claims:

    GRDF   {"consentements": "[{"pce": "01234567890123", "id_accreditation": "…"}]"}, a text that holds JSON
    Enedis {"usage_point_id": "98765432109876"}

GRDF sends an id_token. No answer of Enedis with one is known, but the documentation of the original konnector mentions
its claims, so they are read too. Source: OpenID Connect Core 1.0; the code of aeneria-app (ConsentementDetail.php).
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
    """A store of one encrypted token, as its text: an account's in the registry, the application's in Redis.

    ``expires_at``: when the token expires, in seconds since 1970.
    """

    def load(self) -> str | None: ...

    def save(self, token: str, expires_at: int | None) -> None: ...

    def renewal_lock(self) -> AbstractContextManager[None]:
        """Hold the lock on this token's renewal: across all workers one renewal at a time.

        Raises TransientError if another worker holds it for too long.
        """


class RotatingTokenStore(TokenStore, Protocol):
    """A token store that also keeps a mark, which says that the refresh token was sent and no answer read yet.

    The two methods may be called only inside ``renewal_lock``. ``save`` clears the mark too.
    """

    def mark_refresh_sent(self) -> bool:
        """Mark the refresh token as sent; return whether it had the mark already."""

    def clear_refresh_sent(self) -> None:
        """Clear the mark, because the supplier has not used up the refresh token."""


StoreT = TypeVar("StoreT", bound=TokenStore)


class _StoredToken(Generic[StoreT]):
    """The base of the classes for users' and for the application's tokens, which differ in requesting a new token."""

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
        except errors.StoreUnavailable:
            # The token may have been renewed but not stored, which must never be hidden.
            raise
        except errors.TransientError:
            if token is None or token.ends_within(0):
                raise
            # The renewal was ahead of time, so the current token still works.
            return token

    def renew(self, refused: Token | None) -> Token:
        """Return another token than ``refused``; raises the errors of ``current``."""
        with self._store.renewal_lock():
            stored = self._load()
            is_refused = refused is not None and stored is not None and stored.access == refused.access
            if stored and not is_refused and not stored.ends_within(RENEW_AHEAD_S):
                return stored
            token = self._request_token(stored)
            # Save before use, because the previous refresh token no longer works.
            self._store.save(token.to_text(), token.expires_at)
        return token

    def _load(self) -> Token | None:
        text = self._store.load()
        return Token.from_text(text) if text else None

    def _request_token(self, stored: Token | None) -> Token:
        raise NotImplementedError


class UserTokens(_StoredToken[RotatingTokenStore]):
    """A user's token (v4): each refresh token works once and returns the next one.

    If the answer is lost after the supplier took the token, the consent is lost. The next refusal looks like that of a
    withdrawn consent. So the store marks the token as sent before each renewal; with the mark, a refusal means that an
    earlier answer was lost.
    """

    def _request_token(self, stored: Token | None) -> Token:
        if stored is None or stored.refresh is None:
            raise errors.RefreshTokenDead("this account has no usable token: its holder must consent again")
        was_sent_before = self._store.mark_refresh_sent()
        try:
            return self._oauth.refresh(stored.refresh).token
        except errors.RefreshTokenDead:
            newest = self._load()
            # The lock can expire: a slow worker may have renewed the token after we took over its lock.
            if newest is not None and newest.refresh != stored.refresh:
                return newest
            if was_sent_before:
                raise errors.RefreshAnswerLost(_ANSWER_LOST) from None
            # A refusal is an answer: another window that tries next must not conclude that an answer was lost.
            self._store.clear_refresh_sent()
            raise
        except (errors.RateLimited, errors.OperatorFault, errors.RequestRefused):
            # The supplier refused before it looked at the token, so this request took nothing.
            if not was_sent_before:
                self._store.clear_refresh_sent()
            raise


class ApplicationTokens(_StoredToken[TokenStore]):
    """The application's token (v5, 2026): requested with its credentials, shared by all accounts.

    The last one is also kept in memory. If another worker has replaced it early, because it was refused, this copy is
    refused as well, and then read again.
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
        """Return the token for the next calls. Raises TokenNeeded without one, or if it has expired."""
        text = self._store.load()
        if not text:
            raise errors.TokenNeeded("this account has no gateway token: add one with `releve home add`")
        token = Token.from_text(text)
        if token.ends_within(0):
            raise errors.TokenNeeded(_TOKEN_ENDED)
        return token

    def renew(self, refused: Token | None) -> Token:
        """Return the token that has replaced ``refused`` meanwhile. Raises TokenRefused without one."""
        token = self.current()
        if refused is None or token.access != refused.access:
            return token
        raise errors.TokenRefused(REFUSED_FOR_GOOD)


def usage_points_from_id_token(id_token: str, client_id: str, now: datetime) -> list[str]:
    """Return the usage points in the order of the claims, without duplicates.

    The token must be issued for our application (``aud``) and not have expired (``exp``) at ``now``, which may be
    simulated. The signature isn't checked: a token received from the token endpoint over TLS needs no check (OpenID
    Connect Core 1.0, 3.1.3.7), and only the supplier has the key. Raises MalformedAnswer for any other text.
    """
    options: Options = {
        "verify_signature": False,
        "verify_aud": True,
        "verify_exp": False,  # The library compares with the real time only.
        "require": ["iss", "aud", "exp"],
    }
    try:
        claims = jwt.decode(id_token, options=options, audience=client_id)
        is_current = float(claims["exp"]) > now.timestamp()
    except (jwt.PyJWTError, TypeError, ValueError, OverflowError, RecursionError):
        # "from None": the text of the library's error may quote the token.
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
    """Split a text, or a list of texts, at ``,`` and ``;``."""
    texts = value if isinstance(value, list) else [value]
    return [word.strip() for text in texts if isinstance(text, str) for word in re.split("[,;]", text)]


def _as_list(value: Json) -> list[Json]:
    """Return the value as a list; GRDF sends its consents as a text that holds JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return []
    return value if isinstance(value, list) else []
