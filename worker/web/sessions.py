"""Browser sessions: a signed cookie (JWT, HS256), with nothing stored on the server.

A household's session names the accounts that it has connected in this browser. In another browser the account's
renewal link opens them again. With v4, which proves whose meter it is, the consent page opens them too. A cookie that
is forged, expired or of another kind gives an empty session.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Final

from worker.stores.encryption import Signer

SESSION_COOKIE: Final = "releve_session"
OPERATOR_COOKIE: Final = "releve_operator"
SESSION_LIFE: Final = timedelta(days=30)
OPERATOR_LIFE: Final = timedelta(hours=12)


@dataclass(frozen=True, slots=True)
class Session:
    """The accounts of one browser. ``sid`` is new whenever rights change, against session fixation."""

    sid: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    accounts: tuple[str, ...] = ()

    def with_accounts(self, *account_ids: str) -> Session:
        """Return a new session with these accounts and those of this session."""
        return Session(accounts=tuple(dict.fromkeys((*self.accounts, *account_ids))))

    def without_account(self, account_id: str) -> Session:
        return replace(self, accounts=tuple(account for account in self.accounts if account != account_id))


def read_session(signer: Signer, cookie: str | None) -> Session:
    """Return the session of a cookie; a new and empty one where the cookie isn't valid."""
    claims = signer.read("session", cookie)
    return Session(claims["sid"], tuple(claims["accounts"])) if claims else Session()


def sign_session(signer: Signer, session: Session) -> str:
    return signer.sign("session", {"sid": session.sid, "accounts": list(session.accounts)}, SESSION_LIFE)
