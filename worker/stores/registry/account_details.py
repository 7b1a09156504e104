"""What a household or an operator tells about an account, sealed: one row an account and kind.

It ends with the account. An account whose meter has another holder keeps none, and the new holder's starts without.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, select

from worker.domain.account import AccountState
from worker.errors import AccountClosed
from worker.stores.database import SealedTable, build_upsert, place_of
from worker.stores.registry import account_rows
from worker.stores.registry.tables import ACCOUNT_DETAILS

PRICES: Final = "prices"  # A kind.
_C: Final = ACCOUNT_DETAILS.c


class AccountDetailTable(SealedTable):
    """The table of details, each a dict of JSON-able values."""

    def load(self, account_id: str, kind: str) -> dict[str, Any] | None:
        """Return what was told; None where nothing was."""
        return self._load_page(kind, _C.account_id == account_id, 1).get(account_id)

    def iterate(self, kind: str, page_size: int = 500) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each account's id with what was told about it, in the order of the ids."""
        after = ""
        while page := self._load_page(kind, _C.account_id > after, page_size):
            yield from page.items()
            after = max(page)

    def _load_page(self, kind: str, condition: ColumnElement[bool], size: int) -> dict[str, dict[str, Any]]:
        query = select(_C.account_id, _C.sealed).where(_C.kind == kind, condition).order_by(_C.account_id).limit(size)
        rows = self._database.fetch(query)
        return {one: json.loads(self._sealer.unseal(sealed, place_of(_C.sealed, one, kind))) for one, sealed in rows}

    def save(self, account_id: str, kind: str, detail: Mapping[str, Any]) -> None:
        """Save what was told, in the place of what was told before.

        Raises UnknownAccount, also for a removed account, and AccountClosed.
        """
        sealed = self._sealer.seal(json.dumps(detail), place_of(_C.sealed, account_id, kind))
        row = {"account_id": account_id, "kind": kind, "sealed": sealed, "sealed_at": self._now()}
        with self._database.writing() as connection:
            account_rows.lock(connection, account_id)
            if account_rows.get(connection, account_id).state is AccountState.CLOSED:
                raise AccountClosed("another person holds this meter now: nothing is kept about this account any more")
            connection.execute(build_upsert(connection.dialect.name, ACCOUNT_DETAILS, row))

    def remove(self, account_id: str, kind: str) -> bool:
        """Forget what was told, and return whether something was. Safe to repeat."""
        return self._database.change(delete(ACCOUNT_DETAILS).where(_C.account_id == account_id, _C.kind == kind)) > 0
