"""Erasing an account: its measures, tokens and state go, the proof of its consent stays as long as the policy says."""

from __future__ import annotations

from datetime import datetime

from worker.stores.measures.base import MeasureStore
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.consents import ConsentTable


def erase_account(
    account_id: str,
    *,
    registry: AccountRegistry,
    consents: ConsentTable,
    measures: MeasureStore,
    progress: ProgressStore,
    now: datetime,
    keep_proof_days: int,
    actor: str | None = None,
) -> dict[str, int]:
    """Erase an account's measures, tokens and state, refuse late writes, and return what was erased, counted.

    ``consent_proofs_kept`` counts what stays, by policy and without the meter's number. ``actor``: who asked for it.
    Safe to repeat.
    """
    # The registry goes first: from then on no task writes for this account.
    removed = registry.remove(account_id)
    proofs = consents.erase_after_removal(account_id, now, keep_proof_days, actor)
    documents = measures.erase(account_id)
    return {"documents": documents, **removed, "state_keys": progress.forget(account_id), **proofs}
