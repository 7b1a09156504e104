"""Accounts whose curve nobody has switched on, found in the ledgers of days and told of once."""

from __future__ import annotations

from worker.accounts.refusals import Desk
from worker.domain.measures.completeness import Ledger
from worker.domain.measures.holes import missing_curve
from worker.domain.measures.readings import Series
from worker.stores.registry.accounts import AccountRegistry


def tell_of_missing_curves(registry: AccountRegistry, desk: Desk) -> int:
    """How many accounts were told of; the active ones are looked at, a page at a time."""
    told, after = 0, None
    while page := registry.page_active(after):
        ledgers = registry.completeness.ledgers_of([account.id for account in page])
        for account in page:
            daily, curve = (ledgers.get((account.id, series), Ledger()) for series in Series)
            if missing := missing_curve(daily, curve):
                told += bool(desk.curve_missing(account.id, missing.last_curve))
        after = page[-1].id
    return told
