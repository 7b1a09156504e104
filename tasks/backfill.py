"""An account's history, one window in flight at a time: each chain's end starts the next."""

from __future__ import annotations

from celery import shared_task

from tasks.base import ControlTask
from tasks.pipeline import window_chain
from tasks.queues import queue_length
from worker.domain.measures.readings import Series
from worker.runtime.process import get_runtime
from worker.sync.backfills import QUEUES, Capacity
from worker.sync.due import most_waiting


@shared_task(base=ControlTask)
def backfill_account(account_id: str) -> None:
    """Publish the next missing window of the account; nothing if all is loaded or one is in flight already.

    Enqueued when the account is created, by the end of each window, and by ``resume_backfills``, which also comes
    back to what finds its queue full.
    """
    runtime = get_runtime()
    room = Capacity(queue_length, most_waiting(runtime.calls_per_hour))
    origin = runtime.dispatcher.claim_backfill(account_id, room)
    if origin is not None:
        window_chain(origin, QUEUES[Series(origin["series"])]).apply_async()
