"""Tokens and who renews them: a user's rotating refresh token, or the application's own credentials.

The promise: a renewal happens once at a time across the fleet, and what it brought is kept before it is
used, for the refresh token that paid for it is dead from then on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from typing import Final, Generic, Protocol, TypeVar

from worker.errors import (
    OperatorFault,
    RateLimited,
    RefreshAnswerLost,
    RefreshTokenDead,
    RequestRefused,
    StoreUnavailable,
    TransientError,
)

RENEW_AHEAD_S: Final = 300.0  # semantics, 6.3
_CONSENT_AGAIN: Final = "no usable token is kept for this account: its owner must consent again"
_ANSWER_LOST: Final = (
    "Enedis has taken the refresh token, but its answer was lost on the way, and with it the next one: the owner "
    "must consent again"
)


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, the refresh token for the next one, and when it ends (seconds since 1970)."""

    access: str = field(repr=False)
    refresh: str | None = field(default=None, repr=False)
    expires_at: int | None = field(default=None, repr=False)

    def ends_within(self, seconds: float, now_s: float) -> bool:
        return self.expires_at is not None and self.expires_at <= now_s + seconds

    def to_text(self) -> str:
        """For a vault that seals it: this text is the secret itself."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> Token:
        """The token that ``to_text`` wrote.  Raises ValueError, which doesn't quote it."""
        try:
            return cls(**json.loads(text))
        except (ValueError, TypeError):
            raise ValueError("this is no token that Relève wrote") from None  # the text is a secret


class TokenStore(Protocol):
    """Where one token is kept, sealed: an account's in the registry, the application's in Redis."""

    def load(self) -> Token | None: ...

    def save(self, token: Token) -> None: ...

    def renewing(self) -> AbstractContextManager[None]:
        """Hold the right to renew this token: one holder at a time across the fleet.

        Raises TransientError where another holds it for too long.
        """


class RotatingTokenStore(TokenStore, Protocol):
    """A vault that remembers a refresh token which was sent, and whose answer nobody has read.

    Asked only by who holds ``renewing``; ``save`` ends the note.
    """

    def note_refresh(self) -> bool:
        """Note that the refresh token is about to be spent; whether it was noted before."""

    def forget_refresh(self) -> None:
        """It was not spent after all."""


class TokenSource(Protocol):
    """The supplier's token endpoint."""

    def refresh(self, refresh_token: str) -> Token: ...

    def application_token(self) -> Token: ...


class TokenProvider(Protocol):
    def current(self) -> Token:
        """A token that should be good for minutes; renewed ahead where it ends soon."""

    def renew(self, refused: Token) -> Token:
        """Another token than ``refused``: the one a colleague brought meanwhile, or a new one."""


VaultT = TypeVar("VaultT", bound=TokenStore)


class _StoredToken(Generic[VaultT]):
    """What both strategies share; they differ in what a new token is paid with."""

    def __init__(self, vault: VaultT, oauth: TokenSource, clock: Callable[[], float] = time.time) -> None:
        self._vault = vault
        self._oauth = oauth
        self._clock = clock  # the real one, even where the system lives at a pretended time: tokens age for real

    def current(self) -> Token:
        """See TokenProvider.  Raises TransientError, RefreshTokenDead (user) or OperatorFault (application)."""
        token = self._vault.load()
        if token is None or not token.ends_within(RENEW_AHEAD_S, self._clock()):
            return token or self._renew(None)
        try:
            return self.renew(token)
        except StoreUnavailable:  # what was renewed may not have been kept: never hide that
            raise
        except TransientError:
            if token.ends_within(0, self._clock()):
                raise
            return token  # it was early yet: what we hold is still good

    def renew(self, refused: Token) -> Token:
        """See TokenProvider.  Raises as ``current`` does."""
        return self._renew(refused)

    def _renew(self, refused: Token | None) -> Token:
        with self._vault.renewing():
            stored = self._vault.load()
            if stored and not self._worn(stored, refused):
                return stored
            fresh = self._fresh(stored)
            self._vault.save(fresh)  # before anybody uses it: its predecessor is dead
        return fresh

    def _worn(self, stored: Token, refused: Token | None) -> bool:
        same = refused is not None and stored.access == refused.access
        return same or stored.ends_within(RENEW_AHEAD_S, self._clock())

    def _fresh(self, stored: Token | None) -> Token:
        raise NotImplementedError


class UserTokens(_StoredToken[RotatingTokenStore]):
    """A user's token (v4): each refresh token works once and brings the next.

    So an answer lost after the supplier took the token loses the consent.  That can't be told from a withdrawn
    one by the next refusal alone: a note kept before each renewal tells.
    """

    def _fresh(self, stored: Token | None) -> Token:
        if stored is None or stored.refresh is None:
            raise RefreshTokenDead(_CONSENT_AGAIN)
        owed = self._vault.note_refresh()
        try:
            return self._oauth.refresh(stored.refresh)
        except RefreshTokenDead:
            kept = self._vault.load()
            if kept is not None and kept.refresh != stored.refresh:  # whom we took for dead has brought it
                return kept
            if owed:
                raise RefreshAnswerLost(_ANSWER_LOST) from None
            raise
        except (RateLimited, OperatorFault, RequestRefused):  # refused before the token was looked at
            if not owed:
                self._vault.forget_refresh()
            raise


class ApplicationTokens(_StoredToken[TokenStore]):
    """The application's token (v5, 2026): asked for with its credentials, shared by all accounts."""

    def _fresh(self, stored: Token | None) -> Token:
        return self._oauth.application_token()
