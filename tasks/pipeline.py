"""The four tasks of a window: ``fetch | filter_known | aggregate | store``; see ``worker.sync.window``.

``fetch`` goes through the queue of the window's lane, the other tasks through the queue ``steps``. Each step seals its
result.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from celery import chain, shared_task, signature
from celery.canvas import Signature
from celery.exceptions import Ignore

from tasks.base import WindowTask, seal, unseal
from worker.domain.messages import SealedMessage, WindowJob, is_backfill
from worker.runtime import current
from worker.sync.claims import queue_of

_NEXT_CHOICE: Final = "tasks.backfill.backfill_account"


@shared_task(name="tasks.pipeline.fetch", base=WindowTask)
def fetch(
    account_id: str, series: str, start: str, end: str, *, run_id: str, claim: str | None = None
) -> SealedMessage:
    """Fetch one window from the supplier.  Asking again gives the same readings."""
    job = WindowJob(account_id=account_id, series=series, start=start, end=end, run_id=run_id, claim=claim)
    confirmed = current.sync().claims.confirm(job)
    if confirmed is None:
        # The window was fetched meanwhile, or another message is fetching it.
        raise Ignore
    return seal(current.sync().window.fetch(confirmed), "filter_known")


@shared_task(name="tasks.pipeline.filter_known", base=WindowTask)
def filter_known(message: SealedMessage) -> SealedMessage:
    """Keep the readings that are new or changed.  The step only reads the store."""
    return seal(current.sync().window.filter_known(unseal(message, "filter_known")), "aggregate")


@shared_task(name="tasks.pipeline.aggregate", base=WindowTask)
def aggregate(message: SealedMessage) -> SealedMessage:
    """Compute the totals that the changes affect. This is a pure function."""
    return seal(current.sync().window.aggregate(unseal(message, "aggregate")), "store")


@shared_task(name="tasks.pipeline.store", base=WindowTask)
def store(message: SealedMessage) -> None:
    """Write readings, then totals, then mark the window done.  Writing again changes nothing."""
    current.sync().window.store(unseal(message, "store"))


def window_chain(job: WindowJob) -> Signature:
    """Return a window's chain, which begins in the window's lane.

    The chain of a history's window ends by publishing the history's next window.
    """
    args = (job["account_id"], job["series"], job["start"], job["end"])
    first = fetch.s(*args, run_id=job["run_id"], claim=job["claim"]).set(queue=queue_of(job))
    steps = [first, filter_known.s(), aggregate.s(), store.s()]
    if is_backfill(job):
        steps.append(signature(_NEXT_CHOICE, args=(job["account_id"],), immutable=True))
    return chain(*steps)


def publish(jobs: Sequence[WindowJob]) -> None:
    published = 0
    try:
        for job in jobs:
            window_chain(job).apply_async()
            published += 1
    finally:
        if published < len(jobs):
            # If the broker is down, the windows that were not published are due again at once.
            current.sync().claims.release(jobs[published:])
