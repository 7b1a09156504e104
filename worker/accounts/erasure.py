"""Erasing an account: its measures, tokens and state are deleted; the evidence of its consent is kept by policy.

The erasure is written to the ledger before anything is deleted, so that a restored backup can't undo the erasure. The
registry remembers the meter: only a proof newer than the erasure opens an account for this meter again
(``domain.consents``).
"""

from __future__ import annotations

from datetime import datetime
from functools import partial

from sqlalchemy import Connection

from worker.domain.account import AccountState
from worker.domain.consents import EndReason, forget_on
from worker.domain.windows import civil_date
from worker.stores.erasure_ledger import LedgerEntry, LedgerKind
from worker.stores.redis.pending_consents import ConnectionRequests
from worker.stores.registry import Registry
from worker.stores.registry.households import forget_account
from worker.stores.registry.known_ledger import KnownLedger


def remove_account(
    account_id: str,
    registry: Registry,
    ledger: KnownLedger,
    requests: ConnectionRequests,
    *,
    now: datetime,
    erased_at: datetime,
) -> dict[str, int]:
    """Remove an account and its connection requests from the stores; return how many things of each kind were removed.

    ``now``: the fleet's time. ``erased_at``: the real time. The proxy's grants for the account's meter end too, and the
    account's rights are marked to be withdrawn.
    """
    account, on_removal, withdrawn = registry.accounts.get(account_id), None, {}
    if account.state is not AccountState.DELETED:
        meters = registry.erasures.digests(account.supplier, account.usage_point_id) if account.usage_point_id else []
        last_day = forget_on(civil_date(now), account.consent_until)
        # The account of a previous holder no longer has a meter, so the ledger's entry names none.
        closes = (meters[0], last_day, account.tenant) if meters else ()
        ledger.append(LedgerEntry(LedgerKind.ERASED, account.id, erased_at, *closes))

        def on_removal(connection: Connection) -> None:
            registry.erasures.remember(connection, meters[0], erased_at, last_day, account.tenant)
            registry.proxy_grants.end_for(connection, meters, EndReason.REMOVED)
            if number := registry.rights.withdraw_meter(connection, account, of_everybody=True):
                withdrawn["rights"] = number

        requests.end_for(account.id, account.usage_point_id, registry.consents.browser_of(account.id))
    forget = partial(forget_account, account_id=account_id)
    return registry.accounts.remove(account_id, now, on_removal, forget) | withdrawn
