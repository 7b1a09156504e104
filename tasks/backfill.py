"""Backfill of an account's history, one window in flight at a time: the end of each chain starts the next."""

from __future__ import annotations

from celery import shared_task

from tasks.base import ControlTask, queue_length
from tasks.pipeline import window_chain
from worker.domain.measures.readings import Series
from worker.runtime.current import get_runtime
from worker.sync.backfills import QUEUES, Capacity
from worker.sync.due import most_waiting


@shared_task(base=ControlTask)
def backfill_account(account_id: str) -> None:
    """Publish the next missing window of the account, if one is missing and none is in flight.

    Enqueued when the account is created, by the end of each window, and by ``resume_backfills``, which also comes
    back to accounts that find their queue full.
    """
    runtime = get_runtime()
    capacity = Capacity(queue_length, most_waiting(runtime.calls_per_hour))
    job = runtime.claims.claim_backfill(account_id, capacity)
    if job is not None:
        window_chain(job, QUEUES[Series(job["series"])]).apply_async()
