"""Who sits before the browser: a signed cookie, nothing kept on the server.

A household's session names the accounts it has connected in this browser; the way back in from another browser is
the consent page again.  Signed with PyJWT (HS256); a cookie that is forged, expired or of another kind is nobody's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

_ALGORITHM: Final = "HS256"
SESSION_COOKIE: Final = "releve_session"
OPERATOR_COOKIE: Final = "releve_operator"
SESSION_LIFE: Final = timedelta(days=30)
OPERATOR_LIFE: Final = timedelta(hours=12)
SHORTEST_KEY: Final = 32


@dataclass(frozen=True, slots=True)
class Session:
    """``sid`` is new whenever rights change, so that a planted cookie gains nothing (session fixation)."""

    sid: str = field(default_factory=lambda: secrets.token_urlsafe(18))
    accounts: tuple[str, ...] = ()

    def owning(self, *account_ids: str) -> Session:
        """The session after these accounts were connected in this browser: a new one, with the old accounts too."""
        return Session(accounts=tuple(dict.fromkeys((*self.accounts, *account_ids))))

    def without(self, account_id: str) -> Session:
        return replace(self, accounts=tuple(known for known in self.accounts if known != account_id))


class Signer:
    """Signs and reads short texts of one ``kind``: a token of one kind is nothing to a reader of another."""

    def __init__(self, key: str) -> None:
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"the session key must have at least {SHORTEST_KEY} characters")
        self._key = key

    def __repr__(self) -> str:
        return "Signer()"

    def sign(self, kind: str, claims: dict[str, Any], life: timedelta) -> str:
        now = datetime.now(UTC)
        return jwt.encode({**claims, "aud": kind, "iat": now, "exp": now + life}, self._key, _ALGORITHM)

    def read(self, kind: str, token: str | None) -> dict[str, Any] | None:
        """The claims, or None for whatever is not ours, not of this kind or no longer good."""
        if not token:
            return None
        try:
            claims: dict[str, Any] = jwt.decode(token, self._key, [_ALGORITHM], audience=kind)
        except jwt.InvalidTokenError:
            return None
        return claims

    def session(self, cookie: str | None) -> Session:
        """The browser's session; a new and empty one where the cookie is nobody's."""
        claims = self.read("session", cookie)
        return Session(claims["sid"], tuple(claims["accounts"])) if claims else Session()

    def cookie(self, session: Session) -> str:
        return self.sign("session", {"sid": session.sid, "accounts": list(session.accounts)}, SESSION_LIFE)

    def csrf(self, sid: str) -> str:
        """What a form of this session carries; it can't be guessed without the key, nor taken from another session."""
        return hmac.new(self._key.encode(), f"csrf:{sid}".encode(), hashlib.sha256).hexdigest()

    def csrf_holds(self, sid: str, told: str | None) -> bool:
        return told is not None and hmac.compare_digest(self.csrf(sid), told)
