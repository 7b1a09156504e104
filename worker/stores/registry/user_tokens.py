"""The table of users' OAuth tokens, sealed. The accounts of one consent share one token.

A refresh token works only once, so if it were copied to several rows, using one copy would make the others invalid.
That is why the accounts of one consent share one row. A new consent adds a new row, which replaces the old row. A
renewed token is stored before it is used. When the last account of a token is removed, stopped or closed, the token's
row waits until the supplier has revoked the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from sqlalchemy import Connection, Select, delete, func, insert, or_, select, update

from worker.stores.database import SealedTable, new_id, place_of
from worker.stores.registry import account_rows
from worker.stores.registry.tables import ACCOUNTS, TOKEN_USERS, TOKENS

PAGE = 500


@dataclass(frozen=True, slots=True)
class ExpiringToken:
    """A user's token to renew soon, before its access token expires. ``account_id``: an active account that uses it."""

    id: str
    account_id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class UnusedToken:
    """A token that no account has used since ``since``. This is a time of the real clock, never a simulated one."""

    id: str
    since: datetime


class TokenTable(SealedTable):
    """The table of users' tokens; their texts are stored encrypted. ``expires_at``: when the access token expires."""

    def load(self, account_id: str) -> str | None:
        """Return the account's token; None without a token. Raises OperatorFault if the encryption key is missing."""
        query = select(TOKENS.c.id, TOKENS.c.sealed).join(TOKEN_USERS).where(TOKEN_USERS.c.account_id == account_id)
        return self._unseal(query)

    def find_token_id(self, account_id: str) -> str | None:
        """Return the id of the account's token; None without one. A new consent changes the id; a renewal does not."""
        token_id: str | None = self._database.scalar(_token_id_of(account_id))
        return token_id

    def list_accounts_of(self, token_id: str) -> list[str]:
        query = select(TOKEN_USERS.c.account_id).where(TOKEN_USERS.c.token_id == token_id)
        return [row.account_id for row in self._database.fetch(query.order_by(TOKEN_USERS.c.account_id))]

    def save(self, account_id: str, token_text: str, expires_at: datetime | None = None) -> None:
        """Save the token in place of the account's previous token. The token is on disk when this returns.

        Raises UnknownAccount if there is no such account, or if the account was removed.
        """
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id)
            token_id = connection.execute(_token_id_of(account_id)).scalar()
            if token_id is None:
                self.assign_new(connection, [account_id], token_text, expires_at)
            else:
                self._renew(connection, token_id, token_text, expires_at)

    def save_renewed(self, token_id: str, token_text: str, expires_at: datetime | None = None) -> bool:
        """Save a renewed token. Returns False, and saves nothing, if a new consent has replaced the token meanwhile."""
        with self._database.writing() as connection:
            return self._renew(connection, token_id, token_text, expires_at)

    # Renewals that may be interrupted.

    def mark_refresh_started(self, token_id: str) -> bool:
        """Record that the refresh token is about to be sent; return whether an earlier renewal is unfinished."""
        has_id = TOKENS.c.id == token_id
        with self._database.writing() as connection:
            # The time of the first unfinished renewal stays in the row until a renewal is saved.
            pending = connection.execute(select(TOKENS.c.refreshing_since).where(has_id)).scalar()
            if pending is None:
                connection.execute(update(TOKENS).where(has_id).values(refreshing_since=datetime.now(UTC)))
        return pending is not None

    def clear_refresh_started(self, token_id: str) -> None:
        """Record that the refresh token was not sent after all."""
        self._database.change(update(TOKENS).where(TOKENS.c.id == token_id).values(refreshing_since=None))

    def list_expiring(self, after: datetime, before: datetime, today: date, limit: int = PAGE) -> list[ExpiringToken]:
        """Return the tokens that expire after ``after``, but not after ``before``, earliest expiry first.

        Only tokens of active accounts whose consent has not ended are returned. ``today``: the date in Europe/Paris.
        """
        until = ACCOUNTS.c.consent_until
        account = func.min(TOKEN_USERS.c.account_id).label("account_id")
        query = (
            select(TOKENS.c.id, account, TOKENS.c.expires_at)
            .select_from(TOKENS.join(TOKEN_USERS).join(ACCOUNTS, TOKEN_USERS.c.account_id == ACCOUNTS.c.id))
            .where(TOKENS.c.expires_at > after, TOKENS.c.expires_at <= before)
            .where(account_rows.IS_ACTIVE, or_(until.is_(None), until >= today))
            .group_by(TOKENS.c.id, TOKENS.c.expires_at)
            .order_by(TOKENS.c.expires_at, TOKENS.c.id)
            .limit(limit)
        )
        return [ExpiringToken(*row) for row in self._database.fetch(query)]

    # Tokens without accounts, which are still to be revoked at the supplier.

    def list_to_revoke(self, limit: int = PAGE) -> list[UnusedToken]:
        """Return the tokens that no account uses any more, longest waiting first."""
        query = select(TOKENS.c.id, TOKENS.c.revoke_since).where(TOKENS.c.revoke_since.is_not(None))
        rows = self._database.fetch(query.order_by(TOKENS.c.revoke_since, TOKENS.c.id).limit(limit))
        return [UnusedToken(*row) for row in rows]

    def load_unused(self, token_id: str) -> str | None:
        """Return the text of a token that no account uses; None if it is gone. Raises OperatorFault like ``load``."""
        is_it = (TOKENS.c.id == token_id, TOKENS.c.revoke_since.is_not(None))
        return self._unseal(select(TOKENS.c.id, TOKENS.c.sealed).where(*is_it))

    def delete_unused(self, token_id: str) -> None:
        """Delete the token if no account uses it."""
        self._database.change(delete(TOKENS).where(TOKENS.c.id == token_id, TOKENS.c.revoke_since.is_not(None)))

    # Functions that run inside the caller's transaction.

    def assign_new(
        self, connection: Connection, account_ids: Sequence[str], token_text: str, expires_at: datetime | None
    ) -> None:
        """Insert a token that these accounts share from now on. The caller has locked the accounts.

        The new token replaces the accounts' previous tokens. A previous token that no account uses any more is deleted
        but not revoked, because its revocation could end the consent, which continues with the new token.
        """
        for account_id in account_ids:
            detach_token(connection, account_id, revoke=False)
        token_id = new_id()
        row = {"id": token_id, "sealed": self._seal(token_id, token_text), "expires_at": expires_at}
        connection.execute(insert(TOKENS).values(**row, updated_at=datetime.now(UTC)))
        users = [{"account_id": account_id, "token_id": token_id} for account_id in account_ids]
        connection.execute(insert(TOKEN_USERS), users)

    def _renew(self, connection: Connection, token_id: str, token_text: str, expires_at: datetime | None) -> bool:
        values = {"sealed": self._seal(token_id, token_text), "expires_at": expires_at, "refreshing_since": None}
        statement = update(TOKENS).where(TOKENS.c.id == token_id).values(**values, updated_at=datetime.now(UTC))
        return connection.execute(statement).rowcount > 0

    def _seal(self, token_id: str, token_text: str) -> str:
        return self._sealer.seal(token_text, place_of(TOKENS.c.sealed, token_id))

    def _unseal(self, query: Select[tuple[str, str]]) -> str | None:
        row = self._database.first(query)
        return None if row is None else self._sealer.unseal(row.sealed, place_of(TOKENS.c.sealed, row.id))


def detach_token(connection: Connection, account_id: str, *, revoke: bool = True) -> int:
    """Detach the account from its token; return how many accounts were detached (0 or 1).

    A token without accounts then waits to be revoked at the supplier. If ``revoke`` is false, such a token is deleted
    instead.
    """
    token_id = connection.execute(_token_id_of(account_id)).scalar()
    if token_id is None:
        return 0
    # Two accounts of one consent may be removed at the same time. The second removal waits here for the first, and then
    # sees that the token has no other account.
    connection.execute(select(TOKENS.c.id).where(TOKENS.c.id == token_id).with_for_update())
    connection.execute(delete(TOKEN_USERS).where(TOKEN_USERS.c.account_id == account_id))
    is_used = select(TOKEN_USERS.c.account_id).where(TOKEN_USERS.c.token_id == token_id).exists()
    unused = TOKENS.c.id == token_id, ~is_used
    waiting = update(TOKENS).where(*unused).values(revoke_since=datetime.now(UTC))
    connection.execute(waiting if revoke else delete(TOKENS).where(*unused))
    return 1


def _token_id_of(account_id: str) -> Select[str]:
    return select(TOKEN_USERS.c.token_id).where(TOKEN_USERS.c.account_id == account_id)
