"""Who sits before the browser: a signed cookie, nothing kept on the server.

A household's session names the accounts it has connected in this browser.  The way back in from another browser is
the account's renewal link; with v4, which proves whose meter it is, the consent page does too.  Signed with PyJWT
(HS256); a cookie that is forged, expired or of another kind is nobody's.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from worker.stores import encryption
from worker.stores.encryption import SHORTEST_KEY as SHORTEST_KEY

SESSION_COOKIE: Final = "releve_session"
OPERATOR_COOKIE: Final = "releve_operator"
SESSION_LIFE: Final = timedelta(days=30)
OPERATOR_LIFE: Final = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Session:
    """``sid`` is new whenever rights change, so that a planted cookie gains nothing (session fixation)."""

    sid: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    accounts: tuple[str, ...] = ()

    def owning(self, *account_ids: str) -> Session:
        """The session after these accounts were connected in this browser: a new one, with the old accounts too."""
        return Session(accounts=tuple(dict.fromkeys((*self.accounts, *account_ids))))

    def without(self, account_id: str) -> Session:
        return replace(self, accounts=tuple(known for known in self.accounts if known != account_id))


class SessionSigner(encryption.Signer):
    """The house's signer, with what browsers carry."""

    def session(self, cookie: str | None) -> Session:
        """The browser's session; a new and empty one where the cookie is nobody's."""
        claims = self.read("session", cookie)
        return Session(claims["sid"], tuple(claims["accounts"])) if claims else Session()

    def cookie(self, session: Session) -> str:
        return self.sign("session", {"sid": session.sid, "accounts": list(session.accounts)}, SESSION_LIFE)
