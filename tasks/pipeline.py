"""One window, four doormen: fetch, filter_known, aggregate, store.  What they do stands in ``worker.sync.window``."""

from __future__ import annotations

from typing import Final

from celery import shared_task, signature
from celery.canvas import Signature
from celery.exceptions import Ignore

from tasks.base import WindowTask
from worker.domain.measures.messages import Changes, Fetched, WindowJob, WindowResult, Writes
from worker.errors import TransientError
from worker.runtime.process import get_runtime
from worker.sync.claims import BACKFILL

_NEXT_CHOICE: Final = "tasks.backfill.backfill_account"


@shared_task(bind=True, base=WindowTask)
def fetch(
    self: WindowTask, account_id: str, series: str, start: str, end: str, *, run_id: str, claim: str | None = None
) -> Fetched:
    """Ask the supplier for one window.  Asking again gives the same readings."""
    origin = WindowJob(account_id=account_id, series=series, start=start, end=end, run_id=run_id, claim=claim)
    try:
        asked = get_runtime().dispatcher.as_of_now(origin)
        if asked is None:
            raise Ignore  # it has been asked for meanwhile, or another message will
        return get_runtime().walk.fetch(asked)
    except TransientError as error:
        self.again(error)


@shared_task(bind=True, base=WindowTask)
def filter_known(self: WindowTask, batch: Fetched) -> Changes:
    """Keep what is new or changed.  Reads only."""
    try:
        return get_runtime().walk.filter_known(batch)
    except TransientError as error:
        self.again(error)


@shared_task(bind=True, base=WindowTask)
def aggregate(self: WindowTask, filtered: Changes) -> Writes:
    """Make the touched totals anew.  Pure."""
    return get_runtime().walk.aggregate(filtered)


@shared_task(bind=True, base=WindowTask)
def store(self: WindowTask, aggregated: Writes) -> WindowResult:
    """Write readings, then totals, then the mark.  Writing again changes nothing."""
    try:
        return get_runtime().walk.store(aggregated)
    except TransientError as error:
        self.again(error)


def window_chain(origin: WindowJob, queue: str) -> Signature:
    """``fetch | filter_known | aggregate | store``, all in ``queue``; a window of the history then chooses the next.

    Told as Celery's own chain is told to its first step, the last one first: to build that one costs as much as to
    publish it.
    """
    further = [step.s().set(queue=queue) for step in (store, aggregate, filter_known)]
    if origin["claim"] == BACKFILL:
        further.insert(0, signature(_NEXT_CHOICE, args=(origin["account_id"],), immutable=True))
    args = (origin["account_id"], origin["series"], origin["start"], origin["end"])
    first = fetch.s(*args, run_id=origin["run_id"], claim=origin["claim"])
    first.options.update(queue=queue, chain=further)
    return first
