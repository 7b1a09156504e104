"""One window, four doormen: fetch, filter_known, aggregate, store.  What they do stands in ``worker.sync``."""

from __future__ import annotations

from celery import chain, shared_task
from celery.canvas import Signature

from tasks.base import WindowTask
from worker.domain.batches import Aggregated, Batch, Filtered, Origin, Report
from worker.errors import TransientError
from worker.runtime import get_runtime


@shared_task(bind=True, base=WindowTask)
def fetch(
    self: WindowTask, account_id: str, series: str, start: str, end: str, *, run_id: str, claim: str | None = None
) -> Batch:
    """Ask the supplier for one window.  Asking again gives the same readings."""
    origin = Origin(account_id=account_id, series=series, start=start, end=end, run_id=run_id, claim=claim)
    try:
        return get_runtime().walk.fetch(origin)
    except TransientError as error:
        self.again(error)


@shared_task(bind=True, base=WindowTask)
def filter_known(self: WindowTask, batch: Batch) -> Filtered:
    """Keep what is new or changed.  Reads only."""
    try:
        return get_runtime().walk.filter_known(batch)
    except TransientError as error:
        self.again(error)


@shared_task(bind=True, base=WindowTask)
def aggregate(self: WindowTask, filtered: Filtered) -> Aggregated:
    """Make the touched totals anew.  Pure."""
    return get_runtime().walk.aggregate(filtered)


@shared_task(bind=True, base=WindowTask)
def store(self: WindowTask, aggregated: Aggregated) -> Report:
    """Write readings, then totals, then the mark.  Writing again changes nothing."""
    try:
        return get_runtime().walk.store(aggregated)
    except TransientError as error:
        self.again(error)


def window_chain(origin: Origin, queue: str, then: Signature | None = None) -> Signature:
    """The chain of one window, all of it in ``queue``; ``then`` starts when it is stored."""
    first = fetch.s(
        origin["account_id"],
        origin["series"],
        origin["start"],
        origin["end"],
        run_id=origin["run_id"],
        claim=origin["claim"],
    )
    steps = [step.set(queue=queue) for step in (first, filter_known.s(), aggregate.s(), store.s())]
    return chain(*steps, *([then] if then is not None else []))
