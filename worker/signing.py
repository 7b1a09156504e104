"""Short signed texts (JWT, HS256): sessions of browsers, states of consents, renewal links in messages.

Each is of one ``kind``: a token of one kind is nothing to a reader of another.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import jwt

_ALGORITHM: Final = "HS256"
SHORTEST_KEY: Final = 32
RENEWAL: Final = "renewal"
RENEWAL_LIFE: Final = timedelta(days=30)


class Signer:
    """Signs and reads; what is forged, expired or of another kind reads as nothing."""

    def __init__(self, key: str) -> None:
        if len(key) < SHORTEST_KEY:
            raise ValueError(f"the session key must have at least {SHORTEST_KEY} characters")
        self._key = key

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

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

    def csrf(self, sid: str) -> str:
        """What a form of this session carries; it can't be guessed without the key, nor taken from another session."""
        return hmac.new(self._key.encode(), f"csrf:{sid}".encode(), hashlib.sha256).hexdigest()

    def csrf_holds(self, sid: str, told: str | None) -> bool:
        return told is not None and hmac.compare_digest(self.csrf(sid).encode(), told.encode("utf-8", "replace"))

    def renewal(self, account_id: str) -> str:
        """What a renewal link carries: who holds it may give this account a new consent, and nothing else."""
        return self.sign(RENEWAL, {"account": account_id}, RENEWAL_LIFE)

    def renewed_account(self, token: str | None) -> str | None:
        """The account that a renewal link is for, or None."""
        claims = self.read(RENEWAL, token)
        account_id = claims.get("account") if claims else None
        return account_id if isinstance(account_id, str) else None
