"""The four tasks of a window: ``fetch | filter_known | aggregate | store``; see ``worker.sync.window``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from celery import shared_task, signature
from celery.canvas import Signature
from celery.exceptions import Ignore

from tasks.base import WindowTask
from worker.domain.measures.messages import BACKFILL, Changes, Fetched, WindowJob, WindowResult, Writes, split_claim
from worker.errors import TransientError
from worker.runtime.current import get_runtime

if TYPE_CHECKING:
    from worker.sync.due import DueWindows

_NEXT_CHOICE: Final = "tasks.backfill.backfill_account"


@shared_task(bind=True, base=WindowTask)
def fetch(
    self: WindowTask, account_id: str, series: str, start: str, end: str, *, run_id: str, claim: str | None = None
) -> Fetched:
    """Fetch one window from the supplier.  Asking again gives the same readings."""
    job = WindowJob(account_id=account_id, series=series, start=start, end=end, run_id=run_id, claim=claim)
    try:
        current = get_runtime().claims.confirm(job)
        if current is None:
            # The window was fetched meanwhile, or another message does it.
            raise Ignore
        return get_runtime().window_sync.fetch(current)
    except TransientError as error:
        self.retry_later(error)


@shared_task(bind=True, base=WindowTask)
def filter_known(self: WindowTask, batch: Fetched) -> Changes:
    """Keep the readings that are new or changed.  Only reads the store."""
    try:
        return get_runtime().window_sync.filter_known(batch)
    except TransientError as error:
        self.retry_later(error)


@shared_task(bind=True, base=WindowTask)
def aggregate(self: WindowTask, filtered: Changes) -> Writes:
    """Compute the totals that the changes touch.  Pure."""
    return get_runtime().window_sync.aggregate(filtered)


@shared_task(bind=True, base=WindowTask)
def store(self: WindowTask, aggregated: Writes) -> WindowResult:
    """Write readings, then totals, then mark the window done.  Writing again changes nothing."""
    try:
        return get_runtime().window_sync.store(aggregated)
    except TransientError as error:
        self.retry_later(error)


def window_chain(job: WindowJob, queue: str) -> Signature:
    """Return the chain of a window, all of it in ``queue``; a window of the history then chooses the next one.

    The steps are given to the first one as Celery's own chain gives them, the last one first: building that object
    costs as much as publishing it.
    """
    next_steps = [step.s().set(queue=queue) for step in (store, aggregate, filter_known)]
    if split_claim(job["claim"])[0] == BACKFILL:
        next_steps.insert(0, signature(_NEXT_CHOICE, args=(job["account_id"],), immutable=True))
    args = (job["account_id"], job["series"], job["start"], job["end"])
    first = fetch.s(*args, run_id=job["run_id"], claim=job["claim"])
    first.options.update(queue=queue, chain=next_steps)
    return first


def publish_window(job: WindowJob, queue: str) -> None:
    """Publish the chain of a window."""
    window_chain(job, queue).apply_async()


def due_windows() -> DueWindows:
    """Return the windows that are due, published to the queues."""
    return get_runtime().due_windows(publish_window)
