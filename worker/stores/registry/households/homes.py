"""Homes: accounts that their household has joined, so that their pages stand side by side.

A home is a text that its accounts share (``accounts.home``). It opens nothing: a page shows those of its accounts that
the browser's session shows by itself.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection

from sqlalchemy import update

from worker.stores.database import SqlTable
from worker.stores.registry import account_rows
from worker.stores.registry.tables import ACCOUNTS


class HomeTable(SqlTable):
    """The homes of accounts; every method raises StoreUnavailable, and is safe to repeat."""

    def join(self, account_ids: Collection[str]) -> None:
        """Join these accounts to a home of their own; each leaves the one that it had. Raises UnknownAccount."""
        self._set(account_ids, secrets.token_hex(8))

    def part(self, account_ids: Collection[str]) -> None:
        """Let each of these accounts stand alone again. Raises UnknownAccount."""
        self._set(account_ids, None)

    def _set(self, account_ids: Collection[str], home: str | None) -> None:
        with self._database.writing() as connection:
            for account_id in sorted(account_ids):  # In one order, else two joins could wait for each other.
                account_rows.lock(connection, account_id)
            connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.id.in_(account_ids)).values(home=home))
