"""Browser sessions: a row of the registry for each, opened by the text in the browser's cookie.

A household's session shows the accounts of its household, each under the session number that the account had when the
household got it. Where the number was raised meanwhile, the session shows the account no more. A cookie that is forged,
over or of another kind gives an empty session.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from worker.accounts.household_access import CODE
from worker.domain.account import Account
from worker.domain.connection_request import ConnectedAccount
from worker.domain.sessions import AccessKey, KeyKind
from worker.runtime.web_access import WebAccess
from worker.stores.registry.households import Household

SESSION_COOKIE: Final = "releve_session"
OPERATOR_COOKIE: Final = "releve_operator"


@dataclass(frozen=True, slots=True)
class Session:
    """The session of one browser; without a key it is empty, and shows nothing."""

    key: AccessKey | None = None
    household: Household | None = None
    _empty_sid: str = field(default_factory=lambda: secrets.token_urlsafe(18), repr=False)

    @property
    def sid(self) -> str:
        """The id of the session, to which its forms are bound; it opens nothing."""
        return self.key.id if self.key else self._empty_sid

    @property
    def accounts(self) -> Mapping[str, int]:
        """The accounts of the household with their session numbers, in the order in which they came."""
        return self.household.accounts if self.household else {}

    def shows(self, account: Account | ConnectedAccount) -> bool:
        """Return whether this session may see the account."""
        return self.accounts.get(account.id) == account.session_number

    def own(self, accounts: Mapping[str, Account]) -> list[Account]:
        """Return those of the accounts, by id, that this session may see, in its order."""
        return [accounts[id_] for id_ in self.accounts if id_ in accounts and self.shows(accounts[id_])]


def load_session(access: WebAccess, cookie: str | None) -> Session:
    """Return the session of a cookie; a new and empty one where the cookie isn't valid."""
    key = access.keys.find(KeyKind.HOUSEHOLD_SESSION, cookie) if cookie else None
    household = access.households.load(key.owner) if key else None
    return Session(key, household) if household else Session()


def reload_session(access: WebAccess, session: Session) -> Session | None:
    """Return a session as it is now; None where it has ended. Records no visit."""
    if session.key is None or not access.keys.is_open(session.key):
        return None
    household = access.households.load(session.key.owner)
    return Session(session.key, household) if household else None


def open_session(
    access: WebAccess,
    session: Session,
    accounts: Iterable[Account | ConnectedAccount],
    device: str,
    *,
    joins: bool = True,
) -> tuple[Session, str]:
    """Return a new session that shows these accounts and those of this one, with the text for its cookie.

    Rights change, so the session before ends (session fixation). The accounts join its household, whose other browsers
    see them too; not where ``joins`` is False, because somebody may have planted the session. A new household gets its
    recovery code, which the session shows until its person has kept it.
    """
    numbers = {account.id: account.session_number for account in accounts}
    household = access.households.add(session.household.id, numbers) if session.household and joins else None
    details = dict(session.key.details) if session.key else {}
    if household is None:
        household = access.households.create({**session.accounts, **numbers})
        details[CODE] = access.ways_back.create_code(household.id)
    return replace_session(access, session, household, details, device)


def replace_session(
    access: WebAccess, session: Session, household: Household, details: Mapping[str, str], device: str
) -> tuple[Session, str]:
    """Return a new session of the household in place of this one, which ends, with the text for its cookie."""
    key, text = access.keys.create(KeyKind.HOUSEHOLD_SESSION, household.id, device=device, details=details)
    if session.key is not None:
        access.keys.end(session.key.id)
    return Session(key, household), text
