"""What a household or an operator tells about an account, sealed: one row an account and kind.

It ends with the account. An account whose meter has another holder keeps none, and the new holder's starts without.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import delete, select

from worker.domain.account import AccountState
from worker.errors import AccountClosed, OperatorFault
from worker.stores.database import SealedTable, build_upsert, place_of
from worker.stores.registry import account_rows
from worker.stores.registry.tables import ACCOUNT_DETAILS

# The kinds.
ALERTS: Final = "alerts"  # The limits of ``domain.alerts.AlertLimits``.
BILL_DAY: Final = "bill_day"  # {"day": DAY}, in a leap year, on which a household's bills begin.
NAME: Final = "name"  # {"name": TEXT}, which a household gives its meter.
NOTE: Final = "note"  # {"text": TEXT, "day": DAY}, which operators write.
PRICES: Final = "prices"
_C: Final = ACCOUNT_DETAILS.c


class AccountDetailTable(SealedTable):
    """The table of details, each a dict of JSON-able values."""

    def load(self, account_id: str, kind: str) -> dict[str, Any] | None:
        """Return what was told; None where nothing was."""
        sealed = self._database.scalar(select(_C.sealed).where(_C.account_id == account_id, _C.kind == kind))
        return None if sealed is None else self._unseal(account_id, kind, sealed)

    def load_all(self, account_id: str) -> dict[str, dict[str, Any]]:
        """Return everything that was told, by kind and in its order, without what can't be decrypted."""
        told = {}
        query = select(_C.kind, _C.sealed).where(_C.account_id == account_id).order_by(_C.kind)
        for kind, sealed in self._database.fetch(query):
            with suppress(OperatorFault):
                told[kind] = self._unseal(account_id, kind, sealed)
        return told

    def iterate(
        self, kind: str, page_size: int = 500, *, among: Collection[str] | None = None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each account's id with what was told about it, in the order of the ids; ``among``: only of these ids.

        What can't be decrypted is left out; `releve doctor` reports it.
        """
        query, after = select(_C.account_id, _C.sealed).where(_C.kind == kind).order_by(_C.account_id), ""
        if among is not None:
            query = query.where(_C.account_id.in_(among))
        while page := self._database.fetch(query.where(_C.account_id > after).limit(page_size)):
            for after, sealed in page:
                with suppress(OperatorFault):
                    yield after, self._unseal(after, kind, sealed)

    def _unseal(self, account_id: str, kind: str, sealed: str) -> Any:
        return json.loads(self._sealer.unseal(sealed, place_of(_C.sealed, account_id, kind)))

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
