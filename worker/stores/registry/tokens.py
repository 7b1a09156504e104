"""Users' tokens: sealed, kept before they are used, and shared where one consent named several meters.

A refresh token works once, so accounts of one consent must share the row, not copies of it: the first copy used
would be the death of the others.  A new consent brings a new row; the old one goes with its last account.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, delete, func, insert, select, update

from worker.domain.consent.accounts import AccountState
from worker.stores.encryption import Sealer, rotate_seals
from worker.stores.registry import account_rows
from worker.stores.registry.database import Database
from worker.stores.registry.tables import ACCOUNTS, TOKEN_USERS, TOKENS

PAGE = 500


@dataclass(frozen=True, slots=True)
class EndingToken:
    """A token whose access part ends soon; ``account_id``: one of the ready accounts that use it."""

    id: str
    account_id: str
    expires_at: datetime


class TokenTable:
    """Every method raises StoreUnavailable.  Token texts are secrets; ``expires_at`` is when the access part ends."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

    def load(self, account_id: str) -> str | None:
        """The token text last saved, or None.  Raises OperatorFault where its key is gone."""
        query = select(TOKENS.c.sealed).join(TOKEN_USERS).where(TOKEN_USERS.c.account_id == account_id)
        with self._database.reading() as connection:
            sealed = connection.execute(query).scalar()
        return None if sealed is None else self._sealer.unseal(sealed)

    def id_of(self, account_id: str) -> str | None:
        """Which token the account uses: another id after each consent, the same after a renewal."""
        with self._database.reading() as connection:
            return _id_of(connection, account_id)

    def users_of(self, token_id: str) -> list[str]:
        """The accounts that use a token."""
        query = select(TOKEN_USERS.c.account_id).where(TOKEN_USERS.c.token_id == token_id)
        with self._database.reading() as connection:
            return list(connection.execute(query.order_by(TOKEN_USERS.c.account_id)).scalars())

    def save(self, account_id: str, token_text: str, expires_at: datetime | None = None) -> None:
        """Keep the token in place of the one that the account uses; it is on disk when this returns.

        Raises UnknownAccount for an account that isn't there or was removed.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id)
            token_id = _id_of(connection, account_id)
            if token_id is None:
                self.give(connection, [account_id], token_text, expires_at)
            else:
                self._renew(connection, token_id, token_text, expires_at)

    def renewed(self, token_id: str, token_text: str, expires_at: datetime | None = None) -> bool:
        """Keep what a renewal brought; false where a new consent has replaced that token meanwhile."""
        with self._database.writing() as connection:
            return self._renew(connection, token_id, token_text, expires_at)

    # What is known of a renewal that may have gone wrong

    def note_refresh(self, token_id: str) -> bool:
        """Note that this refresh token is about to be spent; whether an earlier answer is still owed to us."""
        which = TOKENS.c.id == token_id
        with self._database.writing() as connection:
            pending = connection.execute(select(TOKENS.c.refreshing_since).where(which)).scalar()
            if pending is None:
                connection.execute(update(TOKENS).where(which).values(refreshing_since=datetime.now(UTC)))
        return pending is not None

    def forget_refresh(self, token_id: str) -> None:
        """The refresh token was not spent after all."""
        with self._database.writing() as connection:
            connection.execute(update(TOKENS).where(TOKENS.c.id == token_id).values(refreshing_since=None))

    def ending(self, after: datetime, before: datetime, limit: int = PAGE) -> list[EndingToken]:
        """Tokens of ready accounts that end between the two, the next to end first; each once."""
        account = func.min(TOKEN_USERS.c.account_id).label("account_id")
        query = (
            select(TOKENS.c.id, TOKENS.c.expires_at, account)
            .select_from(TOKENS.join(TOKEN_USERS).join(ACCOUNTS, TOKEN_USERS.c.account_id == ACCOUNTS.c.id))
            .where(TOKENS.c.expires_at > after, TOKENS.c.expires_at <= before)
            .where(ACCOUNTS.c.state == AccountState.READY.value)
            .group_by(TOKENS.c.id, TOKENS.c.expires_at)
            .order_by(TOKENS.c.expires_at, TOKENS.c.id)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [EndingToken(row.id, row.account_id, row.expires_at) for row in connection.execute(query)]

    # Inside the registry's transactions

    def give(
        self, connection: Connection, account_ids: Sequence[str], token_text: str, expires_at: datetime | None
    ) -> None:
        """A new token for these accounts together, in place of those that they had; the caller has locked them."""
        for account_id in account_ids:
            take_away(connection, account_id)
        token_id = secrets.token_hex(10)
        row = {"id": token_id, "sealed": self._sealer.seal(token_text), "expires_at": expires_at}
        connection.execute(insert(TOKENS).values(**row, updated_at=datetime.now(UTC)))
        users = [{"account_id": account_id, "token_id": token_id} for account_id in account_ids]
        connection.execute(insert(TOKEN_USERS), users)

    def _renew(self, connection: Connection, token_id: str, token_text: str, expires_at: datetime | None) -> bool:
        values = {"sealed": self._sealer.seal(token_text), "expires_at": expires_at, "refreshing_since": None}
        statement = update(TOKENS).where(TOKENS.c.id == token_id).values(**values, updated_at=datetime.now(UTC))
        return connection.execute(statement).rowcount > 0

    # Keys

    def rotate(self) -> int:
        """Seal every token anew under the first key; how many.  Safe to repeat, to stop and to run beside work.

        Raises OperatorFault at the end if some could not be read; the others are done.
        """
        return rotate_seals(self._database, self._sealer, TOKENS.c.id, TOKENS.c.sealed, "tokens")


def take_away(connection: Connection, account_id: str) -> int:
    """The account's use of a token, and the token with its last user; how many uses there were (0 or 1)."""
    token_id = _id_of(connection, account_id)
    if token_id is None:
        return 0
    # Whoever takes it from another account of the same consent at this moment waits here, and then sees the truth.
    connection.execute(select(TOKENS.c.id).where(TOKENS.c.id == token_id).with_for_update())
    connection.execute(delete(TOKEN_USERS).where(TOKEN_USERS.c.account_id == account_id))
    used = select(TOKEN_USERS.c.account_id).where(TOKEN_USERS.c.token_id == token_id).exists()
    connection.execute(delete(TOKENS).where(TOKENS.c.id == token_id, ~used))
    return 1


def _id_of(connection: Connection, account_id: str) -> str | None:
    return connection.execute(select(TOKEN_USERS.c.token_id).where(TOKEN_USERS.c.account_id == account_id)).scalar()
