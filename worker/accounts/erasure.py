"""Erasing an account: its measures, tokens and state go, the proof of its consent stays as long as the policy says."""

from __future__ import annotations

from datetime import datetime
from functools import partial

from worker.domain.consent.consents import EndReason
from worker.stores.measures.base import MeasureStore
from worker.stores.redis.progress import ProgressStore
from worker.stores.registry.accounts import AccountRegistry
from worker.stores.registry.consents import ConsentTable
from worker.stores.registry.erasures import ErasureTable
from worker.stores.registry.proxy.grants import ProxyGrantTable


def erase_account(
    account_id: str,
    *,
    registry: AccountRegistry,
    consents: ConsentTable,
    measures: MeasureStore,
    progress: ProgressStore,
    now: datetime,
    keep_proof_days: int,
    erasures: ErasureTable,
    proxy_grants: ProxyGrantTable,
) -> dict[str, int]:
    """Erase an account's measures, tokens and state, refuse late writes, and return what was erased, counted.

    ``consent_proofs_kept`` counts what stays, by policy and without the meter's number. Safe to repeat. The grants of
    the proxy for the account's meter end with it.
    """
    account, remember = registry.get(account_id), None
    if account.usage_point_id is not None:
        meters = erasures.digests(account.supplier, account.usage_point_id)
        remember = partial(proxy_grants.end_for, meter_digests=meters, reason=EndReason.REMOVED)
    # The registry goes first: from then on no task writes for this account.
    removed = registry.remove(account_id, remember)
    proofs = consents.erase_after_removal(account_id, now, keep_proof_days)
    documents = measures.erase(account_id)
    return {"documents": documents, **removed, "state_keys": progress.forget(account_id), **proofs}
