"""An account's history, one window in flight at a time: each chain's end starts the next."""

from __future__ import annotations

from celery import shared_task

from tasks.base import ControlTask
from tasks.pipeline import window_chain
from worker.domain.readings import Series
from worker.runtime import get_runtime


@shared_task(base=ControlTask)
def backfill_account(account_id: str) -> None:
    """Publish the next missing window of the account; nothing if all is loaded or one is in flight already.

    Enqueued when the account is created, by the end of each window, and by ``resume_backfills``.
    """
    dispatcher = get_runtime().dispatcher
    origin = dispatcher.claim_backfill(account_id)
    if origin is None:
        return
    queue = "first_screen" if origin["series"] == Series.DAILY else "backfill"
    window_chain(origin, queue, then=backfill_account.si(account_id)).apply_async()
