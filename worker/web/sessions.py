"""Browser sessions: a signed cookie (JWT, HS256), with nothing stored on the server.

A household's session names the accounts that it has connected in this browser, each with the account's session number.
Where the number was raised meanwhile, the session shows the account no more. A cookie that is forged, expired or of
another kind gives an empty session.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from worker.domain.consent.accounts import Account
from worker.domain.consent.connection_requests import ConnectedAccount
from worker.stores.encryption import Signer

SESSION_COOKIE: Final = "releve_session"
OPERATOR_COOKIE: Final = "releve_operator"
SESSION_LIFE: Final = timedelta(days=30)
OPERATOR_LIFE: Final = timedelta(hours=12)
MOST_ACCOUNTS: Final = 50  # A cookie has 4096 bytes. The accounts that came first give way.


@dataclass(frozen=True, slots=True)
class Session:
    """The accounts of one browser with their session numbers, in the order in which they came.

    ``sid`` is new whenever rights change, against session fixation.
    """

    sid: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)
    accounts: Mapping[str, int] = field(default_factory=dict)

    def shows(self, account: Account | ConnectedAccount) -> bool:
        """Return whether this session may see the account."""
        return self.accounts.get(account.id) == account.session_number

    def own(self, accounts: Mapping[str, Account]) -> list[Account]:
        """Return those of the accounts, by id, that this session may see, in its order."""
        return [accounts[id_] for id_ in self.accounts if id_ in accounts and self.shows(accounts[id_])]

    def with_accounts(self, accounts: Iterable[Account | ConnectedAccount]) -> Session:
        """Return a new session with these accounts and those of this session."""
        numbers = {**self.accounts, **{account.id: account.session_number for account in accounts}}
        return Session(accounts=dict(list(numbers.items())[-MOST_ACCOUNTS:]))

    def without_account(self, account_id: str) -> Session:
        rest = {id_: number for id_, number in self.accounts.items() if id_ != account_id}
        return Session(self.sid, rest)


def read_session(signer: Signer, cookie: str | None) -> Session:
    """Return the session of a cookie; a new and empty one where the cookie isn't valid."""
    claims = signer.read("session", cookie)
    accounts = claims.get("accounts") if claims else None
    return Session(claims["sid"], accounts) if claims and isinstance(accounts, dict) else Session()


def sign_session(signer: Signer, session: Session) -> str:
    return signer.sign("session", {"sid": session.sid, "accounts": dict(session.accounts)}, SESSION_LIFE)
