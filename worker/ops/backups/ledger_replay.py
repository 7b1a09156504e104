"""The ledger of erasures, applied to a registry that was just restored, before anybody can see it.

For each account what is final counts: an erased account is never alive again, a closed one is never read again, and a
stopped consent stays stopped unless the backup knows a later one. The same tables do it that did it the first time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final

from sqlalchemy import Connection

from worker.domain.account import Account, AccountState
from worker.domain.windows import civil_date
from worker.errors import ConsentStopped
from worker.runtime.process import Runtime
from worker.stores.erasure_ledger import LedgerEntry, LedgerKind
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.erased_meters import ErasureTable
from worker.stores.registry.rights import withdraw_waiting

_BATCH: Final = 500  # Accounts that are looked up at once.
_ENDED: Final = (AccountState.CLOSED, AccountState.DELETED)


@dataclass(slots=True)
class LedgerEffect:
    """How many accounts the ledger has changed in a restored registry."""

    erased: int = 0
    closed: int = 0
    stopped: int = 0


def replay_ledger(runtime: Runtime, connection: Connection, entries: Iterable[LedgerEntry]) -> LedgerEffect:
    """Apply the entries inside the transaction that fills the registry, and return how many accounts changed.

    The meters of erased accounts are remembered, whether the backup has the account or not.
    """
    replay = _Replay(runtime, connection)
    by_account: dict[str, dict[LedgerKind, LedgerEntry]] = {}
    for entry in entries:
        replay.remember(entry)
        latest = by_account.setdefault(entry.account_id, {})
        if entry.kind not in latest or latest[entry.kind].at < entry.at:
            latest[entry.kind] = entry
    names = iter(by_account)
    while batch := list(islice(names, _BATCH)):
        for account in replay.registry.get_many(batch).values():
            replay.apply(account, {kind: entry.at for kind, entry in by_account[account.id].items()})
    return replay.effect


class _Replay:
    """The tables that take part in the transaction, and what came of it."""

    def __init__(self, runtime: Runtime, connection: Connection) -> None:
        database = runtime.registry.database.join(connection)
        self.effect = LedgerEffect()
        self.registry = AccountRegistry(database, runtime.registry_sealer, runtime.registry.outcomes.fleet)
        self._consents = ConsentTable(database, runtime.registry_sealer)
        self._erasures = ErasureTable(database, runtime.erasure_hashes)
        self._connection = connection
        self._keep_days = runtime.settings.keep_consent_proof_days
        self._today = civil_date(runtime.now())

    def remember(self, entry: LedgerEntry) -> None:
        """Remember an erased meter, unless its time is over, and let the rights that waited for it be withdrawn."""
        if entry.meter is not None:
            withdraw_waiting(self._connection, entry.meter, entry.at)
        if entry.meter is not None and entry.forget_on is not None and entry.forget_on > self._today:
            self._erasures.remember(self._connection, entry.meter, entry.at, entry.forget_on)

    def apply(self, account: Account, moments: dict[LedgerKind, datetime]) -> None:
        """Do to a restored account what happened to it at these moments."""
        if (erased_at := moments.get(LedgerKind.ERASED)) is not None:
            if account.state is not AccountState.DELETED:
                self.registry.remove(account.id)
                self._consents.erase_after_removal(account.id, erased_at, self._keep_days)
                self.effect.erased += 1
        elif account.state in _ENDED:
            return
        elif (closed_at := moments.get(LedgerKind.CLOSED)) is not None:
            self._consents.close(self._connection, account.id, closed_at)
            self._consents.end_closed(self._connection, account.id, closed_at, None)
            self.effect.closed += 1
        elif not self._has_consented_since(account.id, stopped_at := moments[LedgerKind.STOPPED]):
            self.effect.stopped += account.reason != ConsentStopped.code
            self._consents.withdraw(account.id, stopped_at)

    def _has_consented_since(self, account_id: str, moment: datetime) -> bool:
        proof = self._consents.newest_proofs([account_id]).get(account_id)
        return proof is not None and proof.consented_at > moment
